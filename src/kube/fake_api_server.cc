// SPDX-License-Identifier: Apache-2.0
// One counter of versions for everything, as in etcd; per kind the current objects and the events that led there. A
// watch is a thread that sends what is newer than what it sent last.
#include "kube/fake_api_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>

namespace sluice::kube::test {
namespace {

struct Event {
  int version = 0;  // 0: raw bytes
  std::string bytes;
  std::string name;  // of its object
};

using Objects = std::map<model::ObjectKey, std::string>;

struct Collection {
  const char* kind;
  const char* api_version;
  Objects objects;
  std::vector<Event> events;
};

std::string status_object(int code, const char* reason, const std::string& message) {
  return fmt::format(
      R"({{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{}","reason":"{}","code":{}}})",
      message, reason, code);
}

std::string refusal(int code, const char* reason, const std::string& message) {
  return net::test::answer(code, status_object(code, reason, message));
}

}  // namespace

std::optional<Kind> kind_of(const Request& request) {
  if (request.path == "/api/v1/services") return Kind::kService;
  if (request.path == "/api/v1/nodes") return Kind::kNode;
  if (request.path.ends_with("/endpointslices")) return Kind::kSlice;
  return std::nullopt;
}

bool is_watch(const Request& request) {
  return request.query.contains("watch");
}

struct FakeApiServer::Impl {
  explicit Impl(Options initial) : options(std::move(initial)) {
    server.emplace(options.server, [this](Peer& peer) {
      while (const auto request = peer.read_request()) {
        if (!answer(*request, peer)) return;
      }
    });
  }

  ~Impl() {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    server.reset();
  }

  // False: the connection ends.
  bool answer(const Request& request, Peer& peer) {
    std::unique_lock<std::mutex> lock(mutex);
    requests.push_back(request);
    if (interceptor) {
      const Interceptor ask = interceptor;
      lock.unlock();
      if (ask(request, peer)) return false;
      lock.lock();
    }
    if (const std::string refused = refuse(request); !refused.empty()) {
      lock.unlock();
      return peer.send(refused);
    }
    const Kind kind = *kind_of(request);
    if (is_watch(request)) {
      watch(collection(kind), request, peer, lock);
      return false;
    }
    const std::string page = list(collection(kind), request);
    lock.unlock();
    return peer.send(page);
  }

  std::string refuse(const Request& request) const {
    const auto authorization = request.headers.find("authorization");
    const bool known = authorization != request.headers.end() && authorization->second == "Bearer " + options.token;
    if (!options.token.empty() && !known) return refusal(401, "Unauthorized", "Unauthorized");
    const bool v1 = request.path.starts_with("/apis/discovery.k8s.io/v1/");
    const bool v1beta1 = request.path.starts_with("/apis/discovery.k8s.io/v1beta1/");
    if (!kind_of(request) || (v1 && !options.serves_v1) || (v1beta1 && !options.serves_v1beta1)) {
      return net::test::answer(404, "404 page not found");
    }
    const bool by_cluster_ip = request.query_text.find("fieldSelector=spec.clusterIP") != std::string::npos;
    if (by_cluster_ip && !options.knows_cluster_ip_selector) {
      return refusal(400, "BadRequest", "field label not supported: spec.clusterIP");
    }
    return {};
  }

  // The name that the field selector requests, or empty.
  static std::string selected_name(const Request& request) {
    constexpr std::string_view kByName = "metadata.name%3D";
    const auto selector = request.query.find("fieldSelector");
    const bool named = selector != request.query.end() && selector->second.starts_with(kByName);
    return named ? selector->second.substr(kByName.size()) : std::string();
  }

  // A list that takes several pages shows the objects of its start on all of them. Tokens: VERSION_INDEX.
  std::string list(const Collection& of, const Request& request) {
    int at_version = version;
    std::size_t from = 0;
    const Objects* objects = &of.objects;
    if (const auto token = request.query.find("continue"); token != request.query.end()) {
      at_version = std::stoi(token->second);
      from = std::stoul(token->second.substr(token->second.find('_') + 1));
      if (at_version < compacted) return refusal(410, "Expired", "The provided continue parameter is too old");
      objects = &unfinished.at({of.kind, at_version});
    }
    const std::string only = selected_name(request);
    Objects named;
    if (!only.empty()) {
      for (const auto& [key, object] : *objects) {
        if (key.name == only) named.emplace(key, object);
      }
      objects = &named;
    }
    const std::size_t page = options.page == 0 ? objects->size() : options.page;
    std::string items;
    std::size_t index = 0;
    for (const auto& [key, object] : *objects) {
      if (index >= from && index < from + page) items += (items.empty() ? "" : ",") + object;
      ++index;
    }
    std::string next;
    if (from + page < objects->size()) {
      next = fmt::format(R"(,"continue":"{}_{}","remainingItemCount":1)", at_version, from + page);
      if (from == 0) unfinished[{of.kind, at_version}] = *objects;
    }
    return net::test::answer(
        200,
        fmt::format(R"({{"kind":"{}List","apiVersion":"{}","metadata":{{"resourceVersion":"{}"{}}},"items":[{}]}})",
                    of.kind, of.api_version, at_version, next, items));
  }

  std::string expired() const {
    const std::string error = status_object(410, "Expired", "too old resource version");
    if (!options.expired_as_event) return net::test::answer(410, error);
    return net::test::chunked_head(200) + net::test::chunk(fmt::format(R"({{"type":"ERROR","object":{}}})", error)) +
           std::string(net::test::kLastChunk);
  }

  void watch(const Collection& of, const Request& request, Peer& peer, std::unique_lock<std::mutex>& lock) {
    const std::chrono::seconds length(std::stoi(request.query.at("timeoutSeconds")));
    const auto deadline = std::chrono::steady_clock::now() + length;
    const int from = std::stoi(request.query.at("resourceVersion"));
    const unsigned end_before = watch_ends;
    if (from < compacted) {
      const std::string reply = expired();
      lock.unlock();
      peer.send(reply);
      return;
    }
    std::string bytes = net::test::chunked_head(200);
    const std::string only = selected_name(request);
    const auto wanted = [&only](const Event& event) {
      return only.empty() || event.name.empty() || event.name == only;
    };
    for (const Event& event : of.events) {
      if (event.version > from && wanted(event)) bytes += net::test::chunk(event.bytes + "\n");
    }
    std::size_t next = of.events.size();
    ++watching;
    bool alive = true;
    while (true) {
      lock.unlock();
      alive = peer.send(bytes);
      lock.lock();
      const auto woken = [&] { return stopping || watch_ends != end_before || next < of.events.size(); };
      if (!alive || !changed.wait_until(lock, deadline, woken) || stopping || watch_ends != end_before) break;
      bytes.clear();
      for (; next < of.events.size(); ++next) {
        const Event& event = of.events[next];
        if (!wanted(event)) continue;
        bytes += event.version == 0 ? event.bytes : net::test::chunk(event.bytes + "\n");
      }
    }
    --watching;
    const bool reset = watch_ends != end_before && end_by_reset;
    lock.unlock();
    if (reset) {
      peer.reset();
    } else {
      peer.send(net::test::kLastChunk);
    }
  }

  Collection& collection(Kind kind) { return collections[static_cast<std::size_t>(kind)]; }

  int tell(Collection& of, const char* type, const std::string& object, const std::string& name) {
    of.events.push_back({version, fmt::format(R"({{"type":"{}","object":{}}})", type, object), name});
    changed.notify_all();
    return version;
  }

  [[nodiscard]] std::vector<Request> select(Kind kind, bool watches) const {
    const std::lock_guard<std::mutex> lock(mutex);
    std::vector<Request> found;
    std::copy_if(requests.begin(), requests.end(), std::back_inserter(found), [&](const Request& request) {
      return kind_of(request) == kind && is_watch(request) == watches && !request.query.contains("continue");
    });
    return found;
  }

  mutable std::mutex mutex;
  std::condition_variable changed;
  Options options;
  Interceptor interceptor;
  std::vector<Request> requests;
  std::array<Collection, 3> collections{Collection{"Service", "v1", {}, {}},
                                        Collection{"EndpointSlice", "discovery.k8s.io/v1", {}, {}},
                                        Collection{"Node", "v1", {}, {}}};
  std::map<std::pair<std::string, int>, Objects> unfinished;  // lists whose later pages may be requested
  int version = 100;
  int compacted = 0;
  unsigned watch_ends = 0;
  bool end_by_reset = false;
  std::size_t watching = 0;
  bool stopping = false;
  std::optional<net::test::TestServer> server;  // last: its threads use everything above
};

FakeApiServer::FakeApiServer(Options options) : impl_(std::make_unique<Impl>(std::move(options))) {}
FakeApiServer::~FakeApiServer() = default;
std::uint16_t FakeApiServer::port() const {
  return impl_->server->port();
}

void FakeApiServer::change(const std::function<void(Options&)>& how) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  how(impl_->options);
}

int FakeApiServer::set(Kind kind, const model::ObjectKey& key, const std::string& members,
                       const std::string& metadata) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  Collection& of = impl_->collection(kind);
  const bool known = of.objects.contains(key);
  const std::string where = kind == Kind::kNode ? "" : fmt::format(R"("namespace":"{}",)", key.namespace_name);
  std::string object =
      fmt::format(R"({{"metadata":{{{}"name":"{}","resourceVersion":"{}"{}{}}}{}{}}})", where, key.name,
                  ++impl_->version, metadata.empty() ? "" : ",", metadata, members.empty() ? "" : ",", members);
  of.objects[key] = object;
  // Watch events name the kind, items of lists do not.
  object = fmt::format(R"({{"kind":"{}","apiVersion":"{}",)", of.kind, of.api_version) + object.substr(1);
  return impl_->tell(of, known ? "MODIFIED" : "ADDED", object, key.name);
}

int FakeApiServer::remove(Kind kind, const model::ObjectKey& key) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  Collection& of = impl_->collection(kind);
  if (of.objects.erase(key) == 0) return impl_->version;
  const std::string object = fmt::format(
      R"({{"kind":"{}","metadata":{{"namespace":"{}","name":"{}","resourceVersion":"{}"}},"spec":{{}},"addressType":"IPv4"}})",
      of.kind, key.namespace_name, key.name, ++impl_->version);
  return impl_->tell(of, "DELETED", object, key.name);
}

int FakeApiServer::bookmark(Kind kind) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  Collection& of = impl_->collection(kind);
  const std::string object =
      fmt::format(R"({{"kind":"{}","metadata":{{"resourceVersion":"{}"}}}})", of.kind, ++impl_->version);
  return impl_->tell(of, "BOOKMARK", object, "");
}

void FakeApiServer::compact() {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->compacted = ++impl_->version;
}

void FakeApiServer::say(Kind kind, const std::string& bytes) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->collection(kind).events.push_back({0, bytes, ""});
  impl_->changed.notify_all();
}

void FakeApiServer::end_watches(bool reset) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  ++impl_->watch_ends;
  impl_->end_by_reset = reset;
  impl_->changed.notify_all();
}

void FakeApiServer::intercept(Interceptor interceptor) {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->interceptor = std::move(interceptor);
}

std::vector<Request> FakeApiServer::requests() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->requests;
}

std::vector<Request> FakeApiServer::lists(Kind kind) const {
  return impl_->select(kind, false);
}
std::vector<Request> FakeApiServer::watches(Kind kind) const {
  return impl_->select(kind, true);
}

std::size_t FakeApiServer::open_watches() const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->watching;
}

}  // namespace sluice::kube::test
