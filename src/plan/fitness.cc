// SPDX-License-Identifier: Apache-2.0
// An external IP is free text from any author of a Service, and a load-balancer IP is what a controller wrote. The
// API server refuses some addresses that make no sense there (ValidateNonSpecialIP, pkg/apis/core/validation), in
// external IPs and not in load-balancer IPs; a folder of manifests refuses nothing. If served, such an address would
// take packets that belong to the node: 127.0.0.1:10250 is kubelet's, 169.254.169.254:80 the cloud's metadata,
// 255.255.255.255:67 DHCP's. And the kernel refuses some as a local address, or accepts them and loses the node's own.
#include "plan/fitness.h"

namespace sluice::plan {

std::optional<std::string> why_unfit(const IpAddress& address) {
  const auto because = [&address](const char* what) { return address.to_string() + " is " + what; };
  if (address.is_unspecified()) return because("no address");
  if (address.is_loopback()) return because("the loopback");
  if (address.is_multicast()) return because("a multicast address");
  if (address.is_link_local()) return because("a link-local address");
  if (address == IpAddress::from_v4(0xffffffff)) return because("the broadcast address");
  return std::nullopt;
}

}  // namespace sluice::plan
