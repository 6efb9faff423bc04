// SPDX-License-Identifier: Apache-2.0
// Health-check node ports: for each Service of type LoadBalancer with externalTrafficPolicy Local, an HTTP server on its
// healthCheckNodePort that tells the cloud's balancer whether this node has ready endpoints. Reference: kube-proxy's healthcheck.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ip.h"
#include "net/event_loop.h"
#include "observe/health.h"

namespace sluice::observe {

struct HealthCheck {
  std::string namespace_name;
  std::string name;
  std::uint16_t port = 0;
  std::size_t local_endpoints = 0;
  friend bool operator==(const HealthCheck&, const HealthCheck&) = default;
};

class HealthCheckServer {
 public:
  // `addresses`: where to listen; an unspecified address means every address of its family.
  // `on_failure(check, error text)` is called at each sync() for each port that cannot be opened.
  using OnFailure = std::function<void(const HealthCheck&, const std::string&)>;
  HealthCheckServer(net::EventLoop& loop, const Health& health, std::vector<IpAddress> addresses, OnFailure on_failure);
  ~HealthCheckServer();
  // Opens, closes and updates listeners so that they are exactly `checks`. May be called from any thread; the work is posted to
  // the loop.
  void sync(std::vector<HealthCheck> checks);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace sluice::observe
