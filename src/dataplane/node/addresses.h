// SPDX-License-Identifier: Apache-2.0
// The node's own addresses, as opposed to those that a data plane bound here for Services; where node ports are served;
// and which addresses a Service must not take from the node. One definition for all users: data planes, the conntrack
// cleaner, nodePortAddresses. (What no Service may have on any node is in plan/fitness.h.)
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

// Without the addresses of kServiceDevice: they are added and removed with the Services, and are not the node's.
std::vector<sys::InterfaceAddress> own_addresses(std::vector<sys::InterfaceAddress> listed);
// The same from the kernel's current list, both families, loopback and link-local ones too.
Result<std::vector<IpAddress>> list_own_addresses();

// Whether it is an address that we put on kServiceDevice. The kernel's own, should the device be up, are not.
bool is_bound_address(const sys::InterfaceAddress& entry);

// What matters about this node for the Services of one family.
struct NodeAddresses {
  std::vector<IpAddress> node_ports;            // where node ports are served, sorted
  std::map<IpAddress, std::string> own;         // with their interfaces
  std::map<IpAddress, std::string> broadcasts;  // of the networks that the node is in, with their interfaces
  std::set<IpAddress> gateways;
};
// Whether Services are served the same way. The interface of an address makes no difference: a CNI may put one on every
// pod's.
bool same(const NodeAddresses& a, const NodeAddresses& b);

struct NodePortScope {
  NodePortAddresses addresses;
  bool localhost = false;  // also on loopback addresses
};
// `listed` are the addresses of all interfaces and families.
NodeAddresses node_addresses(Family family, const NodePortScope& node_ports,
                             const std::vector<sys::InterfaceAddress>& listed, const std::vector<IpAddress>& gateways);

// Why the address must not become local to this node for a Service, in a text that names it; nothing if it may.
std::optional<std::string> why_not_to_bind(const IpAddress& address, const NodeAddresses& node);

}  // namespace sluice::dataplane::node
