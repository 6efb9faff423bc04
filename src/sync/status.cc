// SPDX-License-Identifier: Apache-2.0
// Turns a programmed Service port into what people read: one line per address, the real servers below.
#include "sync/status.h"

#include <fmt/format.h>

namespace sluice::sync {

ServedPort describe(const plan::ServicePortPlan& port) {
  ServedPort served{.name = port.key.printed_name(),
                    .protocol = port.key.protocol,
                    .family = port.key.family,
                    .frontends = {},
                    .real_servers = port.real_servers,
                    .internal_local = port.internal_local,
                    .external_local = port.external_local};
  const auto add = [&](plan::FrontendKind kind, const IpAddress& address) {
    served.frontends.push_back({kind, join_host_port(address, port.port)});
  };
  add(plan::FrontendKind::kClusterIp, port.cluster_ip);
  for (const IpAddress& address : port.external_ips) add(plan::FrontendKind::kExternalIp, address);
  for (const IpAddress& address : port.load_balancer_ips) add(plan::FrontendKind::kLoadBalancerIp, address);
  if (port.node_port != 0)
    served.frontends.push_back({plan::FrontendKind::kNodePort, fmt::format("*:{}", port.node_port)});
  return served;
}

}  // namespace sluice::sync
