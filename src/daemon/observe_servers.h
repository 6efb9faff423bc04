// SPDX-License-Identifier: Apache-2.0
// The ports on which others query this proxy: healthz, metrics, and the health-check node ports of Services. What goes
// wrong with them is logged and posted as an event.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/flags.h"
#include "daemon/event_posts.h"
#include "net/event_loop.h"
#include "observe/health.h"
#include "observe/health_check_server.h"
#include "observe/metrics.h"
#include "observe/servers.h"

namespace sluice::daemon {

class ObserveServers {
 public:
  // All outlive it; it is destroyed after the loop has stopped.
  ObserveServers(net::EventLoop& loop, const config::CommandLine& command, observe::Health& health,
                 observe::Metrics& metrics, EventPosts& events);
  // An error if one must listen at once (bindAddressHardFail) and does not.
  Result<> start();
  // The addresses of the health-check node ports, once they are known; called once.
  void answer_health_checks_at(const std::vector<IpAddress>& addresses);
  void sync_health_checks(std::vector<observe::HealthCheck> checks);  // any thread, after answer_health_checks_at()

 private:
  Result<observe::ServerOptions> options(const std::string& address, const char* name, const char* event_reason);
  [[nodiscard]] observe::MetricsPages pages() const;

  net::EventLoop& loop_;
  const config::CommandLine& command_;
  observe::Health& health_;
  observe::Metrics& metrics_;
  EventPosts& events_;
  std::unique_ptr<observe::ObserveServer> healthz_;
  std::unique_ptr<observe::ObserveServer> metrics_server_;
  std::optional<observe::HealthCheckServer> health_checks_;
};

}  // namespace sluice::daemon
