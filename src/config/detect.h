// SPDX-License-Identifier: Apache-2.0
// What the daemon derives about its own node from the configuration, the Node object and the interfaces: name,
// addresses, families, which sources are its pods, where node ports are served. Pure functions; gathering the facts and
// logging are up to the caller.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "config/config.h"
#include "dataplane/dataplane.h"
#include "plan/plan.h"

namespace sluice::config {

template <typename T>
using ByFamily = std::array<T, 2>;  // indexed by Family

template <typename T>
T& of(ByFamily<T>& values, Family family) {
  return values[static_cast<std::size_t>(family)];
}
template <typename T>
const T& of(const ByFamily<T>& values, Family family) {
  return values[static_cast<std::size_t>(family)];
}
Family other_family(Family family);

// hostnameOverride, or else the host's name; trimmed and in lower case. An error if nothing remains.
Result<std::string> node_name(const ProxyConfig& config, std::string_view host_name);

struct NodeAddressFacts {
  std::string_view bind_address;
  std::vector<IpAddress> internal_ips;  // of the Node object, in its order; empty if there is none
  std::vector<IpAddress> external_ips;
};
struct NodeIps {
  Family primary = Family::kIPv4;
  ByFamily<IpAddress> by_family;  // loopback if nothing better is known
  bool loopback_assumed = false;  // the primary one is loopback: to be logged
};
NodeIps detect_node_ips(const NodeAddressFacts& facts);

// The families to serve, the primary one first. An error if the host lacks the primary one.
Result<std::vector<Family>> choose_families(Family primary, const ByFamily<bool>& supported);

struct LocalDetectors {
  ByFamily<plan::LocalDetector> by_family;
  std::string notice;  // for the log if the primary family has no detector; else empty
};
LocalDetectors local_detectors(const ProxyConfig& config, const std::vector<Cidr>& pod_cidrs, Family primary);

// nodePortAddresses with the word "primary" replaced by the node's own addresses, as CIDRs; loopback is left out.
std::vector<std::string> expand_node_port_addresses(const ProxyConfig& config, const NodeIps& ips);
// Where node ports of a family are served. `cidrs` are of both families and expanded; none of this family, or a /0,
// means everywhere. IPv6 loopback never serves any.
dataplane::NodePortAddresses node_port_addresses(Family family, const std::vector<std::string>& cidrs,
                                                 const std::vector<IpAddress>& local_addresses);
// Whether the IPv4 CIDRs (none = all) cover loopback. If so, and with iptables.localhostNodePorts, 127.0.0.1 serves
// them in mode iptables.
bool contains_ipv4_loopback(const std::vector<std::string>& cidrs);
bool localhost_node_ports(const ProxyConfig& config, const std::vector<std::string>& cidrs);
// Where the health-check node ports listen: the unspecified address of a family means all of its addresses.
std::vector<IpAddress> health_check_addresses(std::span<const Family> families,
                                              const ByFamily<dataplane::NodePortAddresses>& addresses);

}  // namespace sluice::config
