// SPDX-License-Identifier: Apache-2.0
// The node's own addresses, as opposed to those that a data plane bound here for Services; where node ports answer; and
// which addresses a Service must not take from the node. One meaning for all who ask: data planes, the conntrack
// cleaner, nodePortAddresses. (What no Service may have on any node is plan/fitness.h's.)
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "dataplane/dataplane.h"
#include "sys/addresses.h"

namespace sluice::dataplane::node {

// Carries addresses of Services, in mode ipvs; kube-proxy's name for it.
inline constexpr const char* kServiceDevice = "kube-ipvs0";

// Without the addresses of kServiceDevice: they come and go with the Services, and are not the node's.
std::vector<sys::InterfaceAddress> own_addresses(std::vector<sys::InterfaceAddress> listed);
// The same of the kernel's list as of now, both families, loopback and link-local ones too.
Result<std::vector<IpAddress>> list_own_addresses();

// What of this node matters to the Services of one family.
struct NodeAddresses {
  std::vector<IpAddress> node_ports;            // where node ports answer, sorted
  std::map<IpAddress, std::string> own;         // with their interfaces
  std::map<IpAddress, std::string> broadcasts;  // of the networks that the node is in, with their interfaces
  std::set<IpAddress> gateways;
};
// Are Services served the same way? On which interface an address is makes no difference: a CNI may put one on every
// pod's.
bool same(const NodeAddresses& a, const NodeAddresses& b);

struct NodePortScope {
  NodePortAddresses addresses;
  bool localhost = false;  // on loopback addresses, too
};
// `listed` are the addresses of all interfaces and families.
NodeAddresses node_addresses(Family family, const NodePortScope& node_ports,
                             const std::vector<sys::InterfaceAddress>& listed, const std::vector<IpAddress>& gateways);

// Why the address must not become local to this node for a Service, in words that name it; nothing where it may.
std::optional<std::string> why_not_to_bind(const IpAddress& address, const NodeAddresses& node);

}  // namespace sluice::dataplane::node
