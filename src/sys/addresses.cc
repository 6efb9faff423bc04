// SPDX-License-Identifier: Apache-2.0
// Node ports are served on the node's own addresses, and a UDP flow to a node port counts only if it went to one of
// them. The kernel lists them by rtnetlink: one RTM_GETADDR dump with AF_UNSPEC lists both families (rtnetlink(7)).
//
// IFA_ADDRESS is the peer's address on a point-to-point link and one's own elsewhere; IFA_LOCAL, where it is present,
// is always one's own (include/uapi/linux/if_addr.h). IFA_LABEL is an alias like "eth0:1", not the interface's name, so
// names come from the index.
#include "sys/addresses.h"

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include <array>
#include <map>
#include <optional>
#include <span>

#include "sys/netlink_dump.h"

namespace sluice::sys {
namespace {

std::optional<IpAddress> attribute_address(const nlattr* attribute) {
  const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
  return IpAddress::from_bytes(std::span(bytes, mnl_attr_get_payload_len(attribute)));
}

// libmnl's own loop macros do not compile as C++ (they assign void pointers).
std::optional<IpAddress> own_address(const nlmsghdr& answer) {
  std::optional<IpAddress> address;
  std::optional<IpAddress> local;
  const auto* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(&answer, sizeof(ifaddrmsg)));
  auto left = static_cast<int>(mnl_nlmsg_get_payload_len(&answer) - sizeof(ifaddrmsg));
  while (mnl_attr_ok(attribute, left)) {
    if (mnl_attr_get_type(attribute) == IFA_ADDRESS) address = attribute_address(attribute);
    if (mnl_attr_get_type(attribute) == IFA_LOCAL) local = attribute_address(attribute);
    left -= static_cast<int>(MNL_ALIGN(attribute->nla_len));
    attribute = mnl_attr_next(attribute);
  }
  return local ? local : address;
}

// The name of interface `index`; empty if it was deleted since the dump.
const std::string& interface_name(std::map<unsigned, std::string>& names, unsigned index) {
  const auto [position, inserted] = names.try_emplace(index);
  std::array<char, IF_NAMESIZE> name{};
  if (inserted && ::if_indextoname(index, name.data()) != nullptr) position->second = name.data();
  return position->second;
}

}  // namespace

Result<std::vector<InterfaceAddress>> list_addresses() {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = RTM_GETADDR;
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  auto* wanted = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(ifaddrmsg)));
  wanted->ifa_family = AF_UNSPEC;

  std::vector<InterfaceAddress> addresses;
  std::map<unsigned, std::string> names;
  const auto take = [&](const nlmsghdr& answer) {
    if (answer.nlmsg_type != RTM_NEWADDR || mnl_nlmsg_get_payload_len(&answer) < sizeof(ifaddrmsg)) return;
    const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(&answer));
    const std::optional<IpAddress> address = own_address(answer);
    if (!address) return;
    addresses.push_back({interface_name(names, header->ifa_index), *address, header->ifa_prefixlen});
  };
  if (auto done = dump_netlink(NETLINK_ROUTE, *request, {[&] { addresses.clear(); }, take}); !done) {
    return annotate(done.error(), "list this node's addresses");
  }
  return addresses;
}

}  // namespace sluice::sys
