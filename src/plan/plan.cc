// SPDX-License-Identifier: Apache-2.0
// Frequently used views of a plan.
#include "plan/plan.h"

#include <algorithm>

namespace sluice::plan {

std::string ServicePortKey::printed_name() const {
  return port_name.empty() ? service.to_string() : service.to_string() + ":" + port_name;
}

std::string to_string(const Frontend& frontend) {
  if (frontend.kind == FrontendKind::kNodePort) return "node port " + std::to_string(frontend.port);
  return join_host_port(frontend.address, frontend.port);
}

Claim claim_on(const Frontend& frontend, const ServicePortKey& port) {
  if (frontend.kind == FrontendKind::kNodePort) return claim_on_node_port(port.family, frontend.port, port.protocol);
  return {frontend.address, frontend.port, port.protocol};
}

bool ServicePortPlan::pool_empty(Pool pool) const {
  return std::none_of(real_servers.begin(), real_servers.end(),
                      [pool](const RealServer& server) { return server.in(pool); });
}

const Frontend* ServicePortPlan::cluster_frontend() const {
  return !frontends.empty() && frontends.front().internal() ? &frontends.front() : nullptr;
}

std::uint16_t ServicePortPlan::served_node_port() const {
  return !frontends.empty() && frontends.back().kind == FrontendKind::kNodePort ? frontends.back().port
                                                                                : std::uint16_t{0};
}

}  // namespace sluice::plan
