// SPDX-License-Identifier: Apache-2.0
// The addresses are the plan's frontends, which the data planes program: so this is what the kernel was
// given. One address may occur twice, as when a cloud's load-balancer IP was also written into externalIPs; to a
// packet that is one address, so it is one here.
#include "view/served.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::view {
namespace {

std::string printed(const plan::Frontend& frontend) {
  if (frontend.kind == plan::FrontendKind::kNodePort) return fmt::format("*:{}", frontend.port);
  return join_host_port(frontend.address, frontend.port);
}

std::string refusal_of(const plan::Frontend& frontend, const plan::ServicePortKey& key,
                       std::span<const dataplane::Refusal> refusals) {
  const auto found = std::find_if(refusals.begin(), refusals.end(), [&](const dataplane::Refusal& refusal) {
    return printed(refusal.frontend) == printed(frontend) && refusal.port == key;
  });
  return found == refusals.end() ? "" : found->reason;
}

void add(const plan::Frontend& frontend, std::string refused, std::vector<ServedAddress>& addresses) {
  const std::string address = printed(frontend);
  const auto known = std::find_if(addresses.begin(), addresses.end(),
                                  [&](const ServedAddress& each) { return each.address == address; });
  if (known == addresses.end()) {
    addresses.push_back({address, {frontend.kind}, std::move(refused)});
  } else if (std::find(known->kinds.begin(), known->kinds.end(), frontend.kind) == known->kinds.end()) {
    known->kinds.push_back(frontend.kind);
  }
}

}  // namespace

ServedPort served_port(const plan::ServicePortPlan& port, std::span<const dataplane::Refusal> refusals) {
  ServedPort served{.name = port.key.printed_name(),
                    .protocol = port.key.protocol,
                    .family = port.key.family,
                    .addresses = {},
                    .real_servers = port.real_servers,
                    .has_endpoints = port.has_endpoints,
                    .internal_local = port.internal.policy_local(),
                    .external_local = port.external.policy_local(),
                    .refused = ""};
  for (const plan::Frontend& frontend : port.frontends) {
    add(frontend, refusal_of(frontend, port.key, refusals), served.addresses);
  }
  for (const plan::RefusedFrontend& refused : port.refused) add(refused.frontend, refused.reason, served.addresses);
  return served;
}

}  // namespace sluice::view
