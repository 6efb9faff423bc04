// SPDX-License-Identifier: Apache-2.0
// A proxy that serves one Service, for the tests of what is shown of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "plan/frontends.h"
#include "view/status.h"

namespace sluice::view {

inline const Clock::WallTime kNow{std::chrono::hours(24 * 365 * 50)};

inline ProcessFacts process_facts() {
  return {4711, "iptables", "nft", "k8s-node1", "files in /m", kNow - std::chrono::seconds(90)};
}

inline plan::RealServer real_server(const std::string& address) {
  plan::RealServer server;
  server.address = *IpAddress::parse(address);
  server.port = 80;
  server.in_cluster_pool = true;
  return server;
}

inline plan::PortDraft web_port() {
  plan::PortDraft port;
  port.key = {{"default", "web"}, "http", Protocol::kTcp, Family::kIPv4};
  port.cluster_ip = *IpAddress::parse("10.104.247.10");
  port.port = 80;
  port.node_port = 31947;
  port.has_endpoints = true;
  port.real_servers = {real_server("10.244.169.161")};
  return port;
}

// An external IP of web_port() that is not served.
inline plan::Frontend refused(const IpAddress& address) {
  return {plan::FrontendKind::kExternalIp, false, 80, address};
}

inline sync::LoopStatus loop_status(const std::vector<plan::PortDraft>& ports) {
  sync::LoopStatus loop;
  loop.lists_complete = true;
  loop.services = 1;
  loop.slices = 1;
  sync::FamilyStatus family;
  family.data_plane = "iptables";
  family.synced = true;
  family.last_sync = kNow - std::chrono::seconds(5);
  family.service_ports = ports.size();
  for (const plan::PortDraft& port : ports) {
    family.real_servers += port.real_servers.size();
    loop.served.push_back(std::make_shared<plan::ServicePortPlan>(plan::finish(port, {})));
  }
  loop.families.push_back(family);
  return loop;
}

inline std::vector<sync::FamilyComparison> comparison(std::vector<std::string> missing) {
  std::vector<sync::FamilyComparison> result;
  result.push_back({Family::kIPv4, dataplane::Difference{std::move(missing), {}}});
  return result;
}

inline Status serving_status(const std::vector<plan::PortDraft>& ports = {web_port()}) {
  return make_status(process_facts(), {}, loop_status(ports), comparison({}));
}

}  // namespace sluice::view
