// SPDX-License-Identifier: Apache-2.0
#include "plan/importance.h"

#include <algorithm>
#include <string>

namespace sluice::plan {

bool is_api_servers_service(const ObjectKey& service) {
  return service.namespace_name == "default" && service.name == "kubernetes";
}

Importance importance(const ServicePortPlan& port) {
  constexpr std::uint16_t kDomain = 53;  // RFC 1035, section 4.2
  const ObjectKey& service = port.key.service;
  if (is_api_servers_service(service)) return Importance::kApiServer;
  const bool of_system = service.namespace_name == "kube-system";
  if (of_system && service.name == "kube-dns") return Importance::kClusterDns;
  const bool on_dns_port =
      std::ranges::any_of(port.frontends, [](const Frontend& frontend) { return frontend.port == kDomain; });
  const bool may_be_dns = of_system || service.name.find("dns") != std::string::npos;
  return on_dns_port && may_be_dns ? Importance::kClusterDns : Importance::kOther;
}

}  // namespace sluice::plan
