// SPDX-License-Identifier: Apache-2.0
// Health-check node ports: for each Service of type LoadBalancer with externalTrafficPolicy Local, an HTTP server on
// its healthCheckNodePort that reports to the cloud's load balancer whether this node has ready endpoints. Reference:
// kube-proxy's healthcheck.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ip.h"
#include "net/event_loop.h"
#include "observe/health.h"
#include "observe/health_check.h"

namespace sluice::observe {

class HealthCheckServer {
 public:
  // `addresses`: where to listen; an unspecified address means every address of its family. A check listens on all
  // addresses of its family or on none of them. `on_failure(check, error text)` is called on the loop's thread for each
  // port and family that cannot be opened: at the first sync() that finds it so, and again when the text changes.
  using OnFailure = std::function<void(const HealthCheck&, const std::string&)>;
  HealthCheckServer(net::EventLoop& loop, const Health& health, std::vector<IpAddress> addresses, OnFailure on_failure);
  // From any thread. Once it returns, nothing given to the constructor but the loop is used any more; the ports
  // themselves are closed by the loop's next turn, or with the loop if it no longer runs.
  ~HealthCheckServer();
  HealthCheckServer(const HealthCheckServer&) = delete;
  HealthCheckServer& operator=(const HealthCheckServer&) = delete;
  // Opens, closes and updates listeners so that they are exactly `checks`. From any thread; the work is posted to the
  // loop, which performs only the newest if several are waiting.
  void sync(std::vector<HealthCheck> checks);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::observe
