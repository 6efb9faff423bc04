// SPDX-License-Identifier: Apache-2.0
// What one Service port needs on this node in mode ipvs: virtual servers with their real servers, addresses on
// kube-ipvs0, elements of the helper table. Pure: the node's addresses are parameters, nothing is queried. Reference:
// docs/mode-ipvs.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/ipvs/annotations.h"
#include "dataplane/ipvs/helper_table.h"
#include "dataplane/node/addresses.h"
#include "ipvs/real_server.h"
#include "ipvs/virtual_server.h"
#include "plan/plan.h"

namespace sluice::dataplane::ipvs {

using sluice::ipvs::RealServer;
using sluice::ipvs::RealServerKey;
using sluice::ipvs::VirtualServer;
using sluice::ipvs::VirtualServerKey;

using node::is_bound_address;
using node::kServiceDevice;
using node::NodeAddresses;

struct WantedSettings {
  Family family = Family::kIPv4;
  Scheduler scheduler;
  std::chrono::milliseconds drain_timeout{0};
  bool localhost_node_ports = false;
  // Addresses of Services become addresses of this node, so it must not lose its own by them.
  bool binds_addresses = true;
  // Cluster IPs become routes of this node: the same holds for them.
  bool routes_cluster_ips = false;
  std::vector<IpAddress> api_server_addresses;
  // Schedulers that the engine does not have: rr is wanted instead.
  std::set<std::string> missing_schedulers;
};

// Sorted by key, each once, with their weights.
using RealServers = std::vector<std::pair<RealServerKey, std::int32_t>>;
RealServer to_real_server(const RealServers::value_type& wanted);

struct WantedVirtualServer {
  VirtualServer server;
  std::shared_ptr<const RealServers> real_servers;  // shared by the virtual servers that have the same
  std::chrono::milliseconds drain_timeout{0};
};
// Whether both mean the same to the kernel.
bool same(const WantedVirtualServer& a, const WantedVirtualServer& b);

struct WantedPort {
  std::vector<WantedVirtualServer> virtual_servers;
  HelperElements elements;  // its service_addresses are those on kube-ipvs0
  std::vector<Refusal> refusals;
  std::vector<std::string> bad_annotations;  // as text
};
WantedPort wanted_of(const plan::ServicePortPlan& port, const WantedSettings& settings, const NodeAddresses& node);

std::string describe_missing_scheduler(const std::string& name);

}  // namespace sluice::dataplane::ipvs
