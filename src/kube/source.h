// SPDX-License-Identifier: Apache-2.0
// A source of objects: an API server, or a folder of files. Both send the same Updates.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kube/kubeconfig.h"
#include "model/snapshot.h"
#include "net/event_loop.h"

namespace sluice::kube {

// All are called on the loop's thread; those that count may be empty.
struct SourceHooks {
  std::function<void(model::Update&&)> on_update;
  // One request to the API server ended: "200" or "<error>", "GET", host and port.
  std::function<void(std::string_view code, std::string_view method, std::string_view host)> on_request;
  // An object cannot be used; its last good state stays.
  std::function<void(std::string_view kind)> on_refused;
};

// What a source is missing: why there is no complete list yet, or why what is known may be out of date.
enum class WaitsFor : std::uint8_t { kFolder, kServer, kObjects, kNode };
struct Waiting {
  WaitsFor what = WaitsFor::kFolder;
  std::string name;    // the folder's path, the API server's URL, the objects' kind, the Node's name
  std::string reason;  // why it is missing; empty: requested, no response yet
  std::chrono::system_clock::time_point since;
  // For "waits for ...": `folder /etc/manifests: No such file or directory`, `API server https://10.0.0.1:6443: ...`,
  // `the list of Services`, `Node "a": the API server has no such Node; it has: b, c`.
  [[nodiscard]] std::string words() const;
  friend bool operator==(const Waiting&, const Waiting&) = default;
};

class Source {
 public:
  virtual ~Source() = default;  // on the loop's thread, or when the loop has stopped
  virtual void start() = 0;
  // What it waits for now, one entry for each thing, in the order of WaitsFor; empty if everything is known and
  // followed. Any thread, at any time while the source lives. A missing thing does not stop the source: it keeps
  // trying, and what it has known before is served.
  [[nodiscard]] virtual std::vector<Waiting> waiting() const = 0;
};

// How patient the API source is. The defaults are client-go's where it has one.
struct ApiTiming {
  std::chrono::milliseconds backoff_min{800};
  std::chrono::milliseconds backoff_max{30000};
  std::chrono::seconds watch_min{300};           // a watch is requested for between this and twice this
  std::chrono::milliseconds watch_slack{30000};  // a watch that exceeds the requested time by this hangs
  // A server with bookmarks sends one about every minute, so a watch that is silent for this long is restarted.
  std::chrono::milliseconds watch_silence{150000};
  // An event is sent in one piece, so the rest of one that has begun arrives soon.
  std::chrono::milliseconds event_rest{10000};
  // A watch that ends sooner than this counts as failed, however it ended.
  std::chrono::milliseconds watch_short{1000};
  // The interval at which the Nodes' names are requested again while ours is missing.
  std::chrono::milliseconds names_again{60000};
  net::HttpTimeouts http;
};

// Lists and watches Services, EndpointSlices and the Node of that name.
std::unique_ptr<Source> make_api_source(net::EventLoop& loop, ClientConfig config, const std::string& node_name,
                                        SourceHooks hooks, ApiTiming timing = {});

// Reads *.yaml, *.yml and *.json of a folder and follows its changes. A file that cannot be read keeps its last good
// state, also across a restart if `kept_folder` names a place to keep copies ("": none).
std::unique_ptr<Source> make_file_source(net::EventLoop& loop, std::string folder, std::string kept_folder,
                                         std::string node_name, SourceHooks hooks);

// Events (events.k8s.io/v1) about this node and its Services, as `kubectl get events` shows them. Best effort: at most
// 64 wait.
struct EventNote {
  bool warning = false;
  std::string reason;
  std::string action;
  std::string note;
  std::string regarding_kind = "Node";
  model::ObjectKey regarding;  // for a Node without namespace
  std::string regarding_uid;
};
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void post(EventNote event) = 0;  // any thread
  // Waits until all posted events are sent or given up, at most for `longest`; on any thread but the loop's.
  virtual void flush(std::chrono::milliseconds longest) = 0;
};
std::unique_ptr<EventSink> make_event_sink(net::EventLoop& loop, ClientConfig config, std::string node_name,
                                           SourceHooks hooks);

}  // namespace sluice::kube
