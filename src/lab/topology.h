// SPDX-License-Identifier: Apache-2.0
// What a lab consists of: nodes, the pods on them, one client outside. A plain value; nothing here touches the machine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::lab {

// Where a pod listens: a "who am I" server answers there (see agent.h). TCP and UDP only.
struct ServedPort {
  Protocol protocol = Protocol::kTcp;
  std::uint16_t port = 0;
  friend bool operator==(const ServedPort&, const ServedPort&) = default;
};

// An additional device of a node with its own address, like libvirt's virbr0.
struct LocalDevice {
  std::string name;
  IpAddress address;
  unsigned prefix_length = 0;
  friend bool operator==(const LocalDevice&, const LocalDevice&) = default;
};

struct NodeSpec {
  std::string name;
  std::vector<IpAddress> addresses;  // on the nodes' network; at most one per family
  std::vector<LocalDevice> devices = {};
  friend bool operator==(const NodeSpec&, const NodeSpec&) = default;
};

struct PodSpec {
  std::string name;
  std::string node;
  std::vector<IpAddress> addresses;  // at most one per family; none with host_network
  std::vector<ServedPort> ports = {};
  bool host_network = false;  // lives in its node's network namespace
  friend bool operator==(const PodSpec&, const PodSpec&) = default;
};

struct Topology {
  std::vector<NodeSpec> nodes;
  std::vector<PodSpec> pods;
  // The host "client": on the nodes' network, but not in the pod network. It may have several addresses of a family.
  std::vector<IpAddress> client_addresses;
  // Service and load-balancer ranges: the client sends traffic for them to `entry_node`, as an external router would.
  std::vector<Cidr> service_ranges;
  std::string entry_node;
  friend bool operator==(const Topology&, const Topology&) = default;

  [[nodiscard]] const NodeSpec* find_node(std::string_view name) const;
  [[nodiscard]] const PodSpec* find_pod(std::string_view name) const;
};

// The network that the nodes, the client and the gateway (its first address) share has these lengths.
inline constexpr unsigned kNodeNetworkLength4 = 24;
inline constexpr unsigned kNodeNetworkLength6 = 64;
Cidr node_network(const IpAddress& address);
IpAddress node_gateway(const IpAddress& address);

inline constexpr std::string_view kClientHost = "client";
inline constexpr std::string_view kFabricHost = "fabric";  // the bridge between the nodes; not a host

// One master, two nodes and their pods, both families: the cluster of the guided tour (walkthrough.h).
Topology walkthrough_topology();

// `nodes` times `pods_per_node`: node1 (192.168.231.11, fd00:231::11) ..., pod1-1 (10.244.1.1, fd00:10:244:1::1) on
// node1 ..., client 192.168.231.200 and .201. Every pod serves `ports`.
struct GridSize {
  unsigned nodes = 2;
  unsigned pods_per_node = 2;
};
inline constexpr unsigned kGridNodesMax = 99;
inline constexpr unsigned kGridPodsMax = 200;  // per node; at most 1000 in all
Topology grid_topology(GridSize size,
                       const std::vector<ServedPort>& ports = {{Protocol::kTcp, 80}, {Protocol::kUdp, 53}});

Result<Topology> topology_by_name(std::string_view text);  // "walkthrough" or "NxM"
// Reports what is wrong with it: unknown nodes, duplicate names or addresses, a family that a pod has and its node
// lacks.
Result<> check_topology(const Topology& topology);

// One line per object; decode(encode(x)) == x.
std::string encode_topology(const Topology& topology);
Result<Topology> decode_topology(std::string_view text);

}  // namespace sluice::lab
