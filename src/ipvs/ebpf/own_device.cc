// SPDX-License-Identifier: Apache-2.0
// Routes are host routes in the main table: a rule and a table of their own would switch off the kernel's shortcut for nodes without
// rules, and cost every look-up. Being on link, they need neither a gateway nor neighbours.
//
// The source that the node's packets get by such a route is the one that they would have towards the rest of the world. Left to itself
// the kernel takes the first address of the first device, which may be a bridge for containers.
#include "ipvs/ebpf/own_device.h"

#include <algorithm>
#include <optional>

#include "base/ip_literals.h"
#include "sys/host_routes.h"
#include "sys/links.h"
#include "sys/sysctl.h"

namespace sluice::ipvs::ebpf {
namespace {

constexpr const char* kPeer = "sluice0-peer";
constexpr unsigned kMtuMin = 1280;  // with less a device has no IPv6
constexpr unsigned kMtuDefault = 1500;

const sys::RouteOwner& owner() {
  static const sys::RouteOwner owner{kOwnDevice, kRouteProtocol};
  return owner;
}

// A pair of veth where the kernel has no dummy. The other end is up, too, or routes by this one would be down in the eyes of some nodes
// (ignore_routes_with_linkdown). It drops whatever might come in there: the MAC is not its own.
Result<> make_device() {
  Result<> made = sys::add_dummy(kOwnDevice);
  if (!made && made.error().code == Errc::kUnsupported)
    made = sys::add_veth({.name = kOwnDevice, .peer = kPeer, .peer_netns = {}, .mac = {}, .peer_mac = {}});
  return made || made.error().code == Errc::kAlreadyExists ? Result<>{} : made;
}

// What is not there (a kernel without IPv6) or must not be written is left: packets pass nevertheless where the node's defaults let
// them. A container with few privileges finds it written already (Engine::prepare_node()).
void set_for_foreign_packets() {
  for (const auto& [name, value] : {
           std::pair{"net/ipv4/conf/sluice0/rp_filter", "0"},
           std::pair{"net/ipv4/conf/sluice0/accept_local", "1"},
           std::pair{"net/ipv4/conf/sluice0/forwarding", "1"},
           std::pair{"net/ipv6/conf/sluice0/forwarding", "1"},
           std::pair{"net/ipv6/conf/sluice0/addr_gen_mode", "1"},  // no link-local address
           std::pair{"net/ipv6/conf/sluice0-peer/addr_gen_mode", "1"},
       })
    (void)sys::ensure_sysctl(name, value);
}

bool is_ours(const sys::LinkState& link) {
  return link.name == kOwnDevice || link.name == kPeer;
}

const sys::LinkState* find_link(const std::vector<sys::LinkState>& links, const char* name) {
  const auto found = std::ranges::find(links, std::string(name), &sys::LinkState::name);
  return found == links.end() ? nullptr : &*found;
}

Result<> set_up_without_neighbours(const sys::LinkState& link) {
  if (!link.without_neighbours) SLUICE_CHECK_OK(sys::set_without_neighbours(link.name));
  if (!link.up) SLUICE_CHECK_OK(sys::set_up(link.name));
  return {};
}

// What every device of the node takes: where a packet goes from here is not known before.
unsigned smallest_mtu(const std::vector<sys::LinkState>& links) {
  std::optional<unsigned> smallest;
  for (const sys::LinkState& link : links) {
    if (link.up && !link.loopback && !is_ours(link)) smallest = std::min(smallest.value_or(link.mtu), link.mtu);
  }
  return std::max(smallest.value_or(kMtuDefault), kMtuMin);
}

// Of packets to anywhere: an address for documentation, to which no host has a route of its own.
Result<std::optional<IpAddress>> usual_source(Family family) {
  return sys::source_towards(family == Family::kIPv4 ? ip("192.0.2.1") : ip("2001:db8::1"));
}

std::size_t family_index(Family family) {
  return family == Family::kIPv4 ? 0 : 1;
}

// The first of them that has to be reported.
Result<> first_failure(const std::vector<sys::RouteFailure>& failures, Errc harmless) {
  for (const sys::RouteFailure& failure : failures) {
    if (failure.error.code != harmless) return tl::unexpected(failure.error);
  }
  return {};
}

}  // namespace

Result<int> OwnDevice::ensure() {
  SLUICE_TRY(std::vector<sys::LinkState> links, sys::list_link_states());
  if (find_link(links, kOwnDevice) == nullptr) {
    SLUICE_CHECK_OK(make_device());
    SLUICE_TRY(links, sys::list_link_states());
  }
  const sys::LinkState* own = find_link(links, kOwnDevice);
  set_for_foreign_packets();
  if (own == nullptr) return fail(Errc::kUnavailable, "sluice0 is removed as soon as it is made");
  const unsigned mtu = smallest_mtu(links);
  if (own->mtu != mtu) SLUICE_CHECK_OK(sys::set_mtu(kOwnDevice, mtu));
  SLUICE_CHECK_OK(set_up_without_neighbours(*own));
  if (const sys::LinkState* peer = find_link(links, kPeer)) SLUICE_CHECK_OK(set_up_without_neighbours(*peer));
  return own->index;
}

Result<bool> OwnDevice::intact() {
  SLUICE_TRY(const std::vector<sys::LinkState> links, sys::list_link_states());
  const sys::LinkState* own = find_link(links, kOwnDevice);
  return own != nullptr && own->up;
}

Result<> OwnDevice::remove() {
  return sys::remove_link(kOwnDevice);
}

Result<std::vector<IpAddress>> OwnDevice::addresses(Family family) {
  SLUICE_TRY(const std::vector<sys::HostRoute> routes, sys::list_host_routes(owner(), family));
  std::vector<IpAddress> addresses;
  for (const sys::HostRoute& route : routes) addresses.push_back(route.destination);
  return addresses;
}

Result<std::size_t> OwnDevice::set(Family family) {
  const std::set<IpAddress>& all = wanted(family);
  SLUICE_TRY(const std::optional<IpAddress> source, usual_source(family));
  source_[family_index(family)] = source;
  SLUICE_TRY(const std::vector<sys::HostRoute> there, sys::list_host_routes(owner(), family));
  std::vector<IpAddress> remove;
  std::set<IpAddress> kept;
  for (const sys::HostRoute& route : there) {
    if (all.contains(route.destination) && (!source || route.source == source)) {
      kept.insert(route.destination);
    } else {
      remove.push_back(route.destination);
    }
  }
  std::vector<sys::HostRoute> add;
  for (const IpAddress& address : all) {
    if (!kept.contains(address)) add.push_back({address, source});
  }
  SLUICE_TRY(const auto unremoved, sys::remove_host_routes(owner(), remove));
  SLUICE_CHECK_OK(first_failure(unremoved, Errc::kNotFound));
  SLUICE_TRY(const auto unadded, sys::add_host_routes(owner(), add));
  SLUICE_CHECK_OK(first_failure(unadded, Errc::kAlreadyExists));
  return remove.size() + add.size() - unremoved.size() - unadded.size();
}

Result<std::size_t> OwnDevice::replace(Family family, std::span<const IpAddress> wanted) {
  known_[family_index(family)] = true;
  this->wanted(family) = {wanted.begin(), wanted.end()};
  return set(family);
}

Result<std::size_t> OwnDevice::change(Family family, std::span<const IpAddress> add,
                                      std::span<const IpAddress> remove) {
  std::set<IpAddress>& all = wanted(family);
  all.insert(add.begin(), add.end());
  for (const IpAddress& address : remove) all.erase(address);
  std::vector<sys::HostRoute> routes;
  if (!add.empty()) {
    SLUICE_TRY(source_[family_index(family)], usual_source(family));
  }
  for (const IpAddress& address : add) routes.push_back({address, source_[family_index(family)]});
  SLUICE_TRY(const auto unadded, sys::add_host_routes(owner(), routes));
  SLUICE_CHECK_OK(first_failure(unadded, Errc::kAlreadyExists));
  SLUICE_TRY(const auto unremoved, sys::remove_host_routes(owner(), remove));
  SLUICE_CHECK_OK(first_failure(unremoved, Errc::kNotFound));
  return add.size() + remove.size() - unadded.size() - unremoved.size();
}

Result<bool> OwnDevice::needs_routes(Family family) {
  SLUICE_TRY(const std::optional<IpAddress> source, usual_source(family));
  if (source && source != source_[family_index(family)]) return true;
  // The kernel takes all of them away, or none: with the device, or with their source.
  const std::set<IpAddress>& all = wanted(family);
  SLUICE_TRY(const bool first, sys::leads_to(kOwnDevice, *all.begin()));
  SLUICE_TRY(const bool last, sys::leads_to(kOwnDevice, *all.rbegin()));
  return !first || !last;
}

Result<int> OwnDevice::follow() {
  if (wanted_[0].empty() && wanted_[1].empty()) return 0;
  SLUICE_TRY(const int number, ensure());
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    if (!known_[family_index(family)] || wanted(family).empty()) continue;
    SLUICE_TRY(const bool needed, needs_routes(family));
    if (needed) SLUICE_CHECK_OK(set(family));
  }
  return number;
}

}  // namespace sluice::ipvs::ebpf
