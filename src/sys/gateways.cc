// SPDX-License-Identifier: Apache-2.0
// A gateway is in RTA_GATEWAY; in RTA_VIA if route and gateway are of different families; or, if there are
// several next hops, in the rtnexthop entries of RTA_MULTIPATH, each with its own attributes (rtnetlink(7),
// include/uapi/linux/rtnetlink.h).
#include "sys/gateways.h"

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <set>
#include <span>

#include "sys/netlink_attributes.h"
#include "sys/netlink_dump.h"

namespace sluice::sys {
namespace {

void take_hops(const nlattr* multipath, std::set<IpAddress>& gateways);

void take_gateway(const nlattr* attribute, std::set<IpAddress>& gateways) {
  const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
  std::span<const std::uint8_t> value(bytes, mnl_attr_get_payload_len(attribute));
  const std::uint16_t type = mnl_attr_get_type(attribute);
  if (type == RTA_MULTIPATH) return take_hops(attribute, gateways);
  if (type == RTA_VIA && value.size() > sizeof(sa_family_t)) value = value.subspan(sizeof(sa_family_t));
  if (type != RTA_GATEWAY && type != RTA_VIA) return;
  if (const auto gateway = IpAddress::from_bytes(value)) gateways.insert(*gateway);
}

void take_hops(const nlattr* multipath, std::set<IpAddress>& gateways) {
  const auto* at = static_cast<const std::uint8_t*>(mnl_attr_get_payload(multipath));
  std::size_t left = mnl_attr_get_payload_len(multipath);
  while (left >= sizeof(rtnexthop)) {
    rtnexthop hop{};
    std::memcpy(&hop, at, sizeof hop);
    if (hop.rtnh_len < sizeof hop || hop.rtnh_len > left) return;
    for_each_attribute(at + sizeof hop, hop.rtnh_len - sizeof hop, [&](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) != RTA_MULTIPATH) take_gateway(attribute, gateways);
    });
    const std::size_t step = std::min<std::size_t>(left, RTNH_ALIGN(hop.rtnh_len));
    at += step;
    left -= step;
  }
}

}  // namespace

Result<std::vector<IpAddress>> list_gateways(Family family) {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_GETROUTE;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  auto* wanted = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(rtmsg)));
  wanted->rtm_family = family == Family::kIPv4 ? AF_INET : AF_INET6;

  std::set<IpAddress> gateways;
  const auto take = [&](const nlmsghdr& answer) {
    if (answer.nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(&answer) < sizeof(rtmsg)) return;
    const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(&answer));
    if (route->rtm_table == RT_TABLE_LOCAL) return;
    for_each_attribute(mnl_nlmsg_get_payload_offset(&answer, sizeof(rtmsg)),
                       mnl_nlmsg_get_payload_len(&answer) - sizeof(rtmsg),
                       [&](const nlattr* attribute) { take_gateway(attribute, gateways); });
  };
  if (auto done = dump_netlink(NETLINK_ROUTE, *request, {[&] { gateways.clear(); }, take}); !done) {
    return annotate(done.error(), "list the gateways");
  }
  return std::vector<IpAddress>(gateways.begin(), gateways.end());
}

}  // namespace sluice::sys
