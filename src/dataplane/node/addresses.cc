// SPDX-License-Identifier: Apache-2.0
// A data plane that binds a Service's address here takes all traffic to it to this node, whatever the port. If it is
// the node's own, another host's on the same network, or the gateway's, the node loses connections that have nothing to
// do with Services, and may lose its route to the API server, and with it the news that the mistake was corrected. A
// network's broadcast address is the same kind of mistake: neighbours' broadcasts would be taken as traffic for the
// Service, and the node's own broadcasts would not leave.
#include "dataplane/node/addresses.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::dataplane::node {
namespace {

// The last address of an IPv4 network that has room for more than its two ends (RFC 3021: a /31 has no broadcast).
std::optional<IpAddress> broadcast_of(const sys::InterfaceAddress& entry) {
  constexpr unsigned kLongestWithBroadcast = 30;
  if (entry.address.family() != Family::kIPv4 || entry.address.is_loopback()) return std::nullopt;
  if (entry.prefix_length == 0 || entry.prefix_length > kLongestWithBroadcast) return std::nullopt;
  std::uint32_t address = 0;
  for (const std::uint8_t byte : entry.address.bytes()) address = address << 8 | byte;
  return IpAddress::from_v4(address | (0xffffffffU >> entry.prefix_length));
}

}  // namespace

std::vector<sys::InterfaceAddress> own_addresses(std::vector<sys::InterfaceAddress> listed) {
  std::erase_if(listed, [](const sys::InterfaceAddress& entry) { return entry.interface == kServiceDevice; });
  return listed;
}

bool is_bound_address(const sys::InterfaceAddress& entry) {
  const IpAddress& address = entry.address;
  const bool kernels_own = address.is_loopback() || (address.family() == Family::kIPv6 && address.is_link_local());
  return entry.interface == kServiceDevice && !kernels_own;
}

Result<std::vector<IpAddress>> list_own_addresses() {
  SLUICE_TRY(auto listed, sys::list_addresses());
  std::vector<IpAddress> addresses;
  for (const sys::InterfaceAddress& entry : own_addresses(std::move(listed))) addresses.push_back(entry.address);
  return addresses;
}

NodeAddresses node_addresses(Family family, const NodePortScope& node_ports,
                             const std::vector<sys::InterfaceAddress>& listed, const std::vector<IpAddress>& gateways) {
  NodeAddresses node;
  std::set<IpAddress> answering;
  const std::set<IpAddress> chosen(node_ports.addresses.addresses.begin(), node_ports.addresses.addresses.end());
  for (const sys::InterfaceAddress& entry : own_addresses(listed)) {
    if (entry.address.family() != family) continue;
    // Each pod's veth has one; no Service may have one anyway.
    if (family == Family::kIPv6 && entry.address.is_link_local()) continue;
    node.own.emplace(entry.address, entry.interface);
    if (const auto broadcast = broadcast_of(entry)) node.broadcasts.emplace(*broadcast, entry.interface);
    if (entry.address.is_loopback() && !node_ports.localhost) continue;
    if (node_ports.addresses.all_local || chosen.contains(entry.address)) answering.insert(entry.address);
  }
  node.node_ports.assign(answering.begin(), answering.end());
  node.gateways.insert(gateways.begin(), gateways.end());
  return node;
}

bool same(const NodeAddresses& a, const NodeAddresses& b) {
  const auto same_addresses = [](const auto& left, const auto& right) {
    return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                      [](const auto& x, const auto& y) { return x.first == y.first; });
  };
  return a.node_ports == b.node_ports && a.gateways == b.gateways && same_addresses(a.own, b.own) &&
         same_addresses(a.broadcasts, b.broadcasts);
}

std::optional<std::string> why_not_to_bind(const IpAddress& address, const NodeAddresses& node) {
  const std::string text = address.to_string();
  if (const auto own = node.own.find(address); own != node.own.end())
    return fmt::format("{} is an address of this node ({})", text, own->second);
  if (const auto broadcast = node.broadcasts.find(address); broadcast != node.broadcasts.end())
    return fmt::format("{} is the broadcast address of a network of this node ({})", text, broadcast->second);
  if (node.gateways.contains(address)) return text + " is a gateway of this node's routes";
  return std::nullopt;
}

}  // namespace sluice::dataplane::node
