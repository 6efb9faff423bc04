// SPDX-License-Identifier: Apache-2.0
#include "sys/address_batch.h"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "sys/netlink_batch.h"

namespace sluice::sys {
namespace {

Error batch_error(const std::string& what, int error) {
  const Errc code = error == EPERM                              ? Errc::kPermission
                    : error == EADDRNOTAVAIL || error == ENODEV ? Errc::kNotFound
                    : error == EEXIST                           ? Errc::kAlreadyExists
                    : error == EINVAL                           ? Errc::kInvalid
                    : error == EAGAIN || error == ENOBUFS       ? Errc::kUnavailable
                    : error == EOPNOTSUPP || error == EACCES    ? Errc::kUnsupported
                                                                : Errc::kInternal;
  return Error{code, fmt::format("addresses: {}: {}", what, std::strerror(error)), error};
}

// The kind of batch: RTM_NEWADDR or RTM_DELADDR on one link.
struct Task {
  std::uint16_t type;
  std::uint16_t flags;
  const std::string& link;
  unsigned index;
};

std::string describe(const Task& task, const IpAddress& address) {
  const bool adds = task.type == RTM_NEWADDR;
  return fmt::format("{} {} {} {}", adds ? "add" : "remove", address.to_string(), adds ? "to" : "from", task.link);
}

nlmsghdr* write_request(char* at, const Task& task, const IpAddress& address) {
  nlmsghdr* header = mnl_nlmsg_put_header(at);
  header->nlmsg_type = task.type;
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | task.flags);
  auto* message = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifaddrmsg)));
  message->ifa_family = address.family() == Family::kIPv4 ? AF_INET : AF_INET6;
  message->ifa_prefixlen = static_cast<std::uint8_t>(address.bytes().size() * 8);
  message->ifa_flags = IFA_F_NODAD;
  message->ifa_scope = RT_SCOPE_UNIVERSE;
  message->ifa_index = task.index;
  mnl_attr_put(header, IFA_LOCAL, address.bytes().size(), address.bytes().data());
  // IPv4 only: a removal without IFA_ADDRESS does not look at the prefix length (inet_rtm_deladdr()).
  if (task.type == RTM_NEWADDR || address.family() == Family::kIPv6) {
    mnl_attr_put(header, IFA_ADDRESS, address.bytes().size(), address.bytes().data());
  }
  return header;
}

Result<std::vector<AddressFailure>> run(std::uint16_t type, std::uint16_t flags, const std::string& link,
                                        std::span<const IpAddress> addresses) {
  std::vector<AddressFailure> failures;
  if (addresses.empty()) return failures;
  const unsigned index = ::if_nametoindex(link.c_str());
  if (index == 0) return tl::unexpected(batch_error("find " + link, errno));
  const Task task{type, flags, link, index};
  SLUICE_TRY(const auto refused, send_batch("addresses", addresses.size(), [&](char* at, std::size_t i) {
               return write_request(at, task, addresses[i]);
             }));
  for (const auto& [i, error] : refused) failures.push_back({i, batch_error(describe(task, addresses[i]), error)});
  return failures;
}

}  // namespace

Result<std::vector<AddressFailure>> add_host_addresses(const std::string& link, std::span<const IpAddress> addresses) {
  return run(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, link, addresses);
}

Result<std::vector<AddressFailure>> remove_host_addresses(const std::string& link,
                                                          std::span<const IpAddress> addresses) {
  return run(RTM_DELADDR, 0, link, addresses);
}

}  // namespace sluice::sys
