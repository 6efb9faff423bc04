// SPDX-License-Identifier: Apache-2.0
#include "sys/host_routes.h"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <functional>

#include "sys/netlink_attributes.h"
#include "sys/netlink_batch.h"
#include "sys/netlink_dump.h"

namespace sluice::sys {
namespace {

Error route_error(const std::string& what, int error) {
  const Errc code = error == EPERM                        ? Errc::kPermission
                    : error == ESRCH || error == ENODEV   ? Errc::kNotFound
                    : error == EEXIST                     ? Errc::kAlreadyExists
                    : error == EINVAL                     ? Errc::kInvalid
                    : error == EAGAIN || error == ENOBUFS ? Errc::kUnavailable
                                                          : Errc::kInternal;
  return Error{code, fmt::format("routes: {}: {}", what, std::strerror(error)), error};
}

std::uint8_t route_family(Family family) {
  return family == Family::kIPv4 ? AF_INET : AF_INET6;
}

void put_address(nlmsghdr* header, std::uint16_t type, const IpAddress& address) {
  const auto bytes = address.bytes();
  mnl_attr_put(header, type, bytes.size(), bytes.data());
}

struct RouteTask {
  std::uint16_t type;
  std::uint16_t flags;
  const RouteOwner& owner;
  unsigned link;
};

nlmsghdr* write_route(char* at, const RouteTask& task, const IpAddress& destination) {
  nlmsghdr* header = mnl_nlmsg_put_header(at);
  header->nlmsg_type = task.type;
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | task.flags);
  auto* message = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
  message->rtm_family = route_family(destination.family());
  message->rtm_dst_len = static_cast<std::uint8_t>(destination.bytes().size() * 8);
  message->rtm_table = RT_TABLE_MAIN;
  message->rtm_protocol = task.owner.protocol;
  message->rtm_scope = RT_SCOPE_LINK;
  message->rtm_type = RTN_UNICAST;
  put_address(header, RTA_DST, destination);
  mnl_attr_put_u32(header, RTA_OIF, task.link);
  return header;
}

Result<std::vector<RouteFailure>> send_routes(const RouteTask& task, std::size_t count,
                                              const std::function<const IpAddress&(std::size_t)>& destination,
                                              const WriteRequest& write) {
  std::vector<RouteFailure> failures;
  SLUICE_TRY(const auto refused, send_batch("routes", count, write));
  for (const auto& [i, error] : refused) {
    failures.push_back({i, route_error(fmt::format("{} {} dev {}", task.type == RTM_NEWROUTE ? "add" : "remove",
                                                   destination(i).to_string(), task.owner.link),
                                       error)});
  }
  return failures;
}

Result<unsigned> link_number(const RouteOwner& owner) {
  const unsigned index = ::if_nametoindex(owner.link.c_str());
  if (index == 0) return tl::unexpected(route_error("find " + owner.link, errno));
  return index;
}

struct RouteSeen {
  HostRoute route;
  unsigned link = 0;
};

RouteSeen read_route(const nlmsghdr& answer) {
  RouteSeen seen;
  for_each_attribute(mnl_nlmsg_get_payload_offset(&answer, sizeof(rtmsg)),
                     mnl_nlmsg_get_payload_len(&answer) - sizeof(rtmsg), [&](const nlattr* attribute) {
                       const std::uint16_t type = mnl_attr_get_type(attribute);
                       const std::span<const std::uint8_t> value(
                           static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute)),
                           mnl_attr_get_payload_len(attribute));
                       if (type == RTA_OIF && value.size() == sizeof seen.link)
                         std::memcpy(&seen.link, value.data(), sizeof seen.link);
                       const auto address = IpAddress::from_bytes(value);
                       if (type == RTA_DST && address) seen.route.destination = *address;
                       if (type == RTA_PREFSRC && address) seen.route.source = *address;
                     });
  return seen;
}

// Nothing where no route leads there, or it is an address of the node.
Result<std::optional<RouteSeen>> route_towards(const IpAddress& destination) {
  std::optional<RouteSeen> seen;
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_GETROUTE;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;  // one reply, and the acknowledgement that ends a dump, too
  auto* wanted = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(rtmsg)));
  wanted->rtm_family = route_family(destination.family());
  wanted->rtm_dst_len = static_cast<std::uint8_t>(destination.bytes().size() * 8);
  put_address(request, RTA_DST, destination);
  const auto take = [&](const nlmsghdr& answer) {
    if (answer.nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(&answer) < sizeof(rtmsg)) return;
    if (static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&answer))->rtm_type == RTN_UNICAST) seen = read_route(answer);
  };
  const auto done = dump_netlink(NETLINK_ROUTE, *request, {[&] { seen.reset(); }, take});
  if (!done && done.error().sys_errno != ENETUNREACH && done.error().sys_errno != EHOSTUNREACH)
    return tl::unexpected(done.error());
  return seen;
}

}  // namespace

Result<std::vector<RouteFailure>> add_host_routes(const RouteOwner& owner, std::span<const HostRoute> routes) {
  if (routes.empty()) return std::vector<RouteFailure>{};
  SLUICE_TRY(const unsigned link, link_number(owner));
  const RouteTask task{RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, owner, link};
  return send_routes(
      task, routes.size(), [&](std::size_t i) -> const IpAddress& { return routes[i].destination; },
      [&](char* at, std::size_t i) {
        nlmsghdr* header = write_route(at, task, routes[i].destination);
        if (routes[i].source) put_address(header, RTA_PREFSRC, *routes[i].source);
        return header;
      });
}

Result<std::vector<RouteFailure>> remove_host_routes(const RouteOwner& owner, std::span<const IpAddress> destinations) {
  if (destinations.empty()) return std::vector<RouteFailure>{};
  SLUICE_TRY(const unsigned link, link_number(owner));
  const RouteTask task{RTM_DELROUTE, 0, owner, link};
  return send_routes(
      task, destinations.size(), [&](std::size_t i) -> const IpAddress& { return destinations[i]; },
      [&](char* at, std::size_t i) { return write_route(at, task, destinations[i]); });
}

Result<std::vector<HostRoute>> list_host_routes(const RouteOwner& owner, Family family) {
  std::vector<HostRoute> routes;
  const unsigned link = ::if_nametoindex(owner.link.c_str());
  if (link == 0) return routes;
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_GETROUTE;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  auto* wanted = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(rtmsg)));
  wanted->rtm_family = route_family(family);
  const auto take = [&](const nlmsghdr& answer) {
    if (answer.nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(&answer) < sizeof(rtmsg)) return;
    const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&answer));
    const unsigned bits = family == Family::kIPv4 ? 32 : 128;
    if (route->rtm_table != RT_TABLE_MAIN || route->rtm_protocol != owner.protocol || route->rtm_dst_len != bits)
      return;
    RouteSeen seen = read_route(answer);
    if (seen.link == link) routes.push_back(std::move(seen.route));
  };
  if (auto done = dump_netlink(NETLINK_ROUTE, *request, {[&] { routes.clear(); }, take}); !done)
    return annotate(done.error(), "list the routes to " + owner.link);
  return routes;
}

Result<std::optional<IpAddress>> source_towards(const IpAddress& destination) {
  SLUICE_TRY(const auto seen, route_towards(destination));
  return seen ? seen->route.source : std::nullopt;
}

Result<bool> leads_to(const std::string& link, const IpAddress& destination) {
  SLUICE_TRY(const auto seen, route_towards(destination));
  return seen && seen->link != 0 && seen->link == ::if_nametoindex(link.c_str());
}

}  // namespace sluice::sys
