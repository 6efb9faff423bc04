// SPDX-License-Identifier: Apache-2.0
// What the control loop gets once, when it is made: periods from the configuration, and hooks to the rooms that it
// must not know.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ip.h"
#include "base/result.h"
#include "dataplane/dataplane.h"
#include "observe/health_check.h"
#include "plan/planner.h"
#include "sys/conntrack.h"

namespace sluice::sync {

inline double to_seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

struct LoopSettings {
  // Between two calls of intact(), and between an attempt that failed and the next.
  std::chrono::nanoseconds sync_period{std::chrono::seconds(30)};
  std::chrono::nanoseconds min_sync_period{std::chrono::seconds(1)};   // between the end of one sync and the next
  std::chrono::nanoseconds full_sync_interval{std::chrono::hours(1)};  // where the data plane wants it
  // For how long a data plane that retires keeps its connections at most.
  std::chrono::nanoseconds drain_timeout{std::chrono::minutes(15)};
  // How often everything that is live is read back and compared, and repaired where it differs; 0 = never.
  std::chrono::nanoseconds drift_repair_interval{0};
  plan::Settings plan;
  plan::NodeFacts facts;  // as known before the Node is reported; the zone follows the Node
  // Set if the local detectors were made from the Node's podCIDRs (detectLocalMode NodeCIDR): other ones need a new
  // process.
  std::optional<std::vector<Cidr>> pod_cidrs;
  // Endpoints that changed earlier do not count for this process' latency. Absent: since the control loop was made.
  std::optional<Clock::WallTime> process_start;
};

// All are called on the loop's thread and must not call back into the loop. Any may be empty.
struct LoopHooks {
  // Which health-check node ports must be open, after a sync.
  std::function<void(std::vector<observe::HealthCheck>)> sync_health_checks;
  // Where node ports are served now; called at every sync and every sync period. Empty: on every local address.
  std::function<dataplane::NodePortAddresses(Family)> node_port_addresses;
  // The process cannot continue with these settings and must be restarted. Called at most once.
  std::function<void(std::string)> fatal;
  // The plan or a data plane declines to serve an address of a Service; once for each until it serves it.
  std::function<void(const dataplane::Refusal&)> address_refused;
  // A data plane does not do what a Service requests by annotation; once for each until the request is met or gone.
  std::function<void(const dataplane::UnmetRequest&)> request_unmet;
  // The kernel refuses a Service port; once for each reason until it accepts the port.
  std::function<void(const dataplane::RefusedPort&)> port_refused;
  // Deletes the UDP flows of a family for which the predicate is true; returns their number. Empty: no flow is deleted.
  std::function<Result<std::size_t>(Family, const std::function<bool(const sys::Flow&)>&)> delete_udp_flows;
  // This node's own addresses, for UDP flows to node ports.
  std::function<Result<std::vector<IpAddress>>()> local_addresses;
};

// delete_udp_flows and local_addresses on the real kernel; the others are empty.
LoopHooks kernel_hooks();

}  // namespace sluice::sync
