// SPDX-License-Identifier: Apache-2.0
// For tests: an API server on loopback that serves Services, EndpointSlices and Nodes as lists and watches, and
// fails where a test requires it. Any thread may call it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/object.h"
#include "net/test_server.h"

namespace sluice::kube::test {

using net::test::Peer;
using net::test::Request;

enum class Kind : unsigned char { kService, kSlice, kNode };

class FakeApiServer {
 public:
  struct Options {
    net::test::TestServer::Options server;
    bool serves_v1 = true;       // discovery.k8s.io/v1
    bool serves_v1beta1 = true;  // discovery.k8s.io/v1beta1
    bool knows_cluster_ip_selector = true;
    bool expired_as_event = false;  // 410 is sent within the watch instead of as its status
    std::string token;              // not empty: others get 401
    std::size_t page = 0;           // objects a page holds; 0 = all
  };
  explicit FakeApiServer(Options options);
  ~FakeApiServer();
  FakeApiServer(const FakeApiServer&) = delete;
  FakeApiServer& operator=(const FakeApiServer&) = delete;
  [[nodiscard]] std::uint16_t port() const;
  // Changes what it supports or demands from now on.
  void change(const std::function<void(Options&)>& how);

  // `members`: the object's JSON members beside metadata ("spec":{...}); `metadata`: more members of its metadata.
  // Returns the resourceVersion.
  int set(Kind kind, const model::ObjectKey& key, const std::string& members, const std::string& metadata = "");
  int remove(Kind kind, const model::ObjectKey& key);
  int bookmark(Kind kind);  // to the watches of that kind; the version goes up as if something else had changed
  void compact();           // watches from earlier versions get 410
  void say(Kind kind, const std::string& bytes);  // these bytes, raw, to the watches of that kind
  void end_watches(bool reset = false);

  // Called before each request is handled; true = it has responded itself.
  using Interceptor = std::function<bool(const Request&, Peer&)>;
  void intercept(Interceptor interceptor);

  [[nodiscard]] std::vector<Request> requests() const;
  // Requests of that kind so far: lists (first pages only) or watches.
  [[nodiscard]] std::vector<Request> lists(Kind kind) const;
  [[nodiscard]] std::vector<Request> watches(Kind kind) const;
  [[nodiscard]] std::size_t open_watches() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What a request is for; nothing for other resources.
std::optional<Kind> kind_of(const Request& request);
bool is_watch(const Request& request);

}  // namespace sluice::kube::test
