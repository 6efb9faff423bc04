// SPDX-License-Identifier: Apache-2.0
// A cloud's balancer sends a Service of externalTrafficPolicy Local only to nodes that have endpoints of it. It finds
// them by a request to each node on the Service's healthCheckNodePort: 200 with at least one ready endpoint, 503 with
// none. Format: kube-proxy's pkg/proxy/healthcheck, tab-indented JSON without a final newline. The control loop decides
// what to serve, the event loop serves it; between the two is one mutex, which also lets the destructor wait until
// no response is being built from what its caller is about to destroy.
#include "observe/health_check_server.h"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <optional>
#include <tuple>
#include <utility>

#include "base/json.h"
#include "base/mutex.h"
#include "net/http_server.h"

namespace sluice::observe {
namespace {

using Key = std::tuple<std::string, std::string, Family>;  // namespace, name

net::HttpResponse make_response(const HealthCheck& check, bool proxy_healthy) {
  net::HttpResponse response;
  response.status = check.local_endpoints > 0 && proxy_healthy ? 200 : 503;
  response.content_type = "application/json";
  response.headers = {{"X-Content-Type-Options", "nosniff"},
                      {"X-Load-Balancing-Endpoint-Weight", std::to_string(check.local_endpoints)}};
  response.body = fmt::format(
      "{{\n\t\"service\": {{\n\t\t\"namespace\": {},\n\t\t\"name\": {}\n\t}},\n\t\"localEndpoints\": {},\n"
      "\t\"serviceProxyHealthy\": {}\n}}",
      json_string(check.namespace_name), json_string(check.name), check.local_endpoints, proxy_healthy);
  return response;
}

using Servers = std::vector<std::unique_ptr<net::HttpServer>>;

// One Service in one family: what it reports now, and its open listeners, or why it has none.
struct Entry {
  HealthCheck check;
  Servers servers;
  std::string failure;
};

}  // namespace

struct HealthCheckServer::Impl : std::enable_shared_from_this<Impl> {
  Impl(net::EventLoop& event_loop, const Health& proxy_health, std::vector<IpAddress> listen_on, OnFailure failure)
      : loop(event_loop), health(proxy_health), addresses(std::move(listen_on)), on_failure(std::move(failure)) {}

  net::EventLoop& loop;
  const Health& health;
  const std::vector<IpAddress> addresses;
  const OnFailure on_failure;
  std::map<Key, Entry> entries;  // the loop's thread only

  Mutex mutex;  // held for every response and every sync
  bool stopped SLUICE_GUARDED_BY(mutex) = false;
  Mutex waiting_mutex;
  std::optional<std::vector<HealthCheck>> waiting SLUICE_GUARDED_BY(waiting_mutex);

  // A request that arrives just when its Service is deleted gets an empty 200, as from kube-proxy.
  net::HttpResponse serve(const Key& key) {
    const MutexLock lock(mutex);
    const auto entry = entries.find(key);
    return stopped || entry == entries.end() ? net::HttpResponse{}
                                             : make_response(entry->second.check, health.healthy());
  }

  // All addresses of a family or none: half a health check would mislead a load balancer. The next sync retries, and
  // reports a failure that differs from the previous one.
  void open(const Key& key, Entry& entry) {
    std::string failure = listen(key, entry.check, entry.servers);
    if (!failure.empty() && failure != entry.failure && on_failure) on_failure(entry.check, failure);
    entry.failure = std::move(failure);
  }

  // Why it does not listen; empty if it does.
  std::string listen(const Key& key, const HealthCheck& check, Servers& servers) {
    for (const IpAddress& address : addresses) {
      if (address.family() != check.family) continue;
      auto handler = [weak = weak_from_this(), key](const net::HttpRequest&) {
        const auto impl = weak.lock();
        return impl ? impl->serve(key) : net::HttpResponse{};
      };
      // IPv6 only: IPv4 has the same port on its own address.
      auto server = net::HttpServer::listen(loop, address, check.port, std::move(handler), true);
      if (!server) {
        servers.clear();
        return server.error().what;
      }
      servers.push_back(std::move(*server));
    }
    return "";
  }

  void sync() {
    const MutexLock lock(mutex);
    std::optional<std::vector<HealthCheck>> checks;
    {
      const MutexLock waiting_lock(waiting_mutex);
      checks.swap(waiting);
    }
    if (stopped || !checks) return;
    std::map<Key, Entry> wanted;
    for (HealthCheck& check : *checks)
      wanted[{check.namespace_name, check.name, check.family}].check = std::move(check);
    for (auto& [key, entry] : wanted) {
      const auto known = entries.find(key);
      if (known == entries.end() || known->second.check.port != entry.check.port) continue;
      entry.servers = std::move(known->second.servers);
      entry.failure = std::move(known->second.failure);
    }
    entries.swap(wanted);
    wanted.clear();  // closes what is no longer wanted, before others open the same port numbers
    for (auto& [key, entry] : entries) {
      if (entry.servers.empty()) open(key, entry);
    }
  }

  void stop() {
    const MutexLock lock(mutex);
    stopped = true;
  }
};

HealthCheckServer::HealthCheckServer(net::EventLoop& loop, const Health& health, std::vector<IpAddress> addresses,
                                     OnFailure on_failure)
    : impl_(std::make_shared<Impl>(loop, health, std::move(addresses), std::move(on_failure))) {}

HealthCheckServer::~HealthCheckServer() {
  impl_->stop();
  // The listeners belong to the loop's thread: pass them over to be closed there.
  net::EventLoop& loop = impl_->loop;
  boost::asio::post(loop, [impl = std::move(impl_)] { impl->entries.clear(); });
}

void HealthCheckServer::sync(std::vector<HealthCheck> checks) {
  {
    const MutexLock lock(impl_->waiting_mutex);
    const bool posted = impl_->waiting.has_value();
    impl_->waiting = std::move(checks);
    if (posted) return;
  }
  boost::asio::post(impl_->loop, [weak = std::weak_ptr<Impl>(impl_)] {
    if (const auto impl = weak.lock()) impl->sync();
  });
}

}  // namespace sluice::observe
