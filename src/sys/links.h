// SPDX-License-Identifier: Apache-2.0
// Links, addresses and routes by rtnetlink, in the calling thread's network namespace: what the lab is made of.
#pragma once

#include <string>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

// A veth pair: `name` here, `peer` in the namespace `peer_netns` (by name).
struct VethPair {
  std::string name;
  std::string peer;
  std::string peer_netns;
};
Result<> add_veth(const VethPair& pair);
Result<> add_bridge(const std::string& name);
Result<> set_master(const std::string& link, const std::string& bridge);
Result<> set_up(const std::string& link);
Result<> remove_link(const std::string& name);  // succeeds where there is none
Result<bool> link_exists(const std::string& name);
// Duplicate address detection is switched off for the address: usable at once.
Result<> add_address(const std::string& link, const IpAddress& address, unsigned prefix_length);
struct RouteSpec {
  Cidr destination;  // /0 = default route
  IpAddress gateway; // unspecified = on link
  std::string link;  // may be empty where a gateway is given
};
Result<> add_route(const RouteSpec& route);

}  // namespace sluice::sys
