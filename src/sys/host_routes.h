// SPDX-License-Identifier: Apache-2.0
// Many host routes (/32, /128) to one link at once, in the main table, set apart from others' by their protocol
// number (rtnetlink(7): rtm_protocol; `ip route show proto N`).
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

struct HostRoute {
  IpAddress destination;
  std::optional<IpAddress> source;  // what the node's own packets have as their source; nothing: the kernel's choice
  friend auto operator<=>(const HostRoute&, const HostRoute&) = default;
};

// Whose routes.
struct RouteOwner {
  std::string link;
  std::uint8_t protocol = 0;
};

struct RouteFailure {
  std::size_t index = 0;  // in the batch
  Error error;            // names the address and the link
};

// Each tries every route, even if earlier ones fail, and returns those that were refused, in order. An Error means that the link does not exist
// or that the kernel could not be reached; a part of the batch may be done then. kAlreadyExists: there is a route to
// that address with the same metric, of any owner; kNotFound: there is none of the owner's to be removed; kInvalid: the source
// is no address of the node.
Result<std::vector<RouteFailure>> add_host_routes(const RouteOwner& owner, std::span<const HostRoute> routes);
Result<std::vector<RouteFailure>> remove_host_routes(const RouteOwner& owner, std::span<const IpAddress> destinations);

// The owner's, in no order; none if there is no such link.
Result<std::vector<HostRoute>> list_host_routes(const RouteOwner& owner, Family family);

// The address that the kernel would take as the source of a packet to `destination`; nothing where no route leads there.
Result<std::optional<IpAddress>> source_towards(const IpAddress& destination);
// Whether such a packet would leave by that link.
Result<bool> leads_to(const std::string& link, const IpAddress& destination);

}  // namespace sluice::sys
