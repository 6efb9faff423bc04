// SPDX-License-Identifier: Apache-2.0
// Links, addresses and routes by rtnetlink, in the calling thread's network namespace: the building blocks of the lab.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

using MacAddress = std::array<std::uint8_t, 6>;

// A veth pair: `name` here, `peer` in the namespace `peer_netns` (by name; empty: here, too). If a MAC is all zeros
// the kernel picks one.
struct VethPair {
  std::string name;
  std::string peer;
  std::string peer_netns;
  MacAddress mac{};
  MacAddress peer_mac{};
};
Result<> add_veth(const VethPair& pair);
Result<> add_bridge(const std::string& name);
// A dummy link (drivers/net/dummy.c); kUnsupported if the kernel has none.
Result<> add_dummy(const std::string& name);
Result<> set_master(const std::string& link, const std::string& bridge);
Result<> set_up(const std::string& link);
Result<> set_mtu(const std::string& link, unsigned mtu);
// Neighbours on it are not resolved: whatever is sent has the link's own MAC as its target.
Result<> set_without_neighbours(const std::string& link);
// Whether it is up, has a carrier and sends. After both ends of a veth are set up the kernel needs a moment
// (net/core/link_watch.c); what is sent before is lost.
Result<bool> link_running(const std::string& link);
Result<> remove_link(const std::string& name);  // succeeds if there is none
Result<bool> link_exists(const std::string& name);
Result<std::vector<std::string>> list_links();
struct LinkState {
  std::string name;
  int index = 0;
  unsigned mtu = 0;
  bool up = false;
  bool loopback = false;
  bool without_neighbours = false;
  MacAddress mac{};  // zeros: it has none, or one of another size
  int bridge = 0;    // the number of the bridge whose port it is; 0: of none
  friend bool operator==(const LinkState&, const LinkState&) = default;
};
Result<std::vector<LinkState>> list_link_states();
// Duplicate address detection is switched off for the address, and on a running link it is usable when this returns.
Result<> add_address(const std::string& link, const IpAddress& address, unsigned prefix_length);
struct RouteSpec {
  Cidr destination;   // /0 = default route
  IpAddress gateway;  // unspecified = on link
  std::string link;   // may be empty if a gateway is given
};
Result<> add_route(const RouteSpec& route);
// A permanent neighbour entry, never resolved: `address` on `link` is at `mac`.
Result<> add_neighbour(const std::string& link, const IpAddress& address, const MacAddress& mac);

}  // namespace sluice::sys
