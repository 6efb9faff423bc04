// SPDX-License-Identifier: Apache-2.0
// Frontends: the last step of planning a Service port. Its addresses, policies and endpoints are known; here they
// become what all readers use: where packets come in, and what happens to them by source.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/plan.h"

namespace sluice::plan {

// A Service port in the making: the plan without its frontends and routes, and the policies that they are derived from.
struct PortDraft : ServicePortPlan {
  IpAddress cluster_ip;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;               // 0 = none
  std::vector<IpAddress> external_ips;       // of this family, as the settings allow them
  std::vector<IpAddress> load_balancer_ips;  // of this family, ipMode VIP
  bool internal_local = false;               // internalTrafficPolicy Local
  bool external_local = false;               // externalTrafficPolicy Local, on a Service where it applies
  bool uses_cluster_pool = false;
  bool uses_local_pool = false;
};

// Where the draft is to be served, whether it may be or not; `filtered` is not set.
std::vector<Frontend> wanted_frontends(const PortDraft& draft);

// Addresses that no Service may have are refused here; claims of other Services are up to the Planner.
ServicePortPlan finish(PortDraft draft, const MasqueradePolicy& policy);

}  // namespace sluice::plan
