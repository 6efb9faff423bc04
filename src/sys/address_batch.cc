// SPDX-License-Identifier: Apache-2.0
// A node of a large cluster carries one address per Service, thousands of them, and setting them one at a
// time, each with its own socket and reply, is what made kube-proxy's mode ipvs slow to start. rtnetlink, like
// all of netlink, processes every message of a datagram before sendmsg(2) returns, and a refused one does not stop
// the next (netlink_rcv_skb() in net/netlink/af_netlink.c). So many requests go out in one datagram. Refusals are
// always reported; of the accepted ones only the last requests an acknowledgement, so the replies fit the socket's
// buffer in every case.
#include "sys/address_batch.h"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>

namespace sluice::sys {
namespace {

using SocketPtr = std::unique_ptr<mnl_socket, decltype(&mnl_socket_close)>;
constexpr std::size_t kRequestsPerDatagram = 128;
// nlmsghdr 16, ifaddrmsg 8, and two attributes of 4 + 16 bytes.
constexpr std::size_t kRequestSize = 64;
constexpr std::size_t kAnswerSize = 64 * 1024;
constexpr timeval kPatience{30, 0};

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

void append_request(std::vector<char>& datagram, std::size_t& used, const Task& task, const IpAddress& address,
                    bool last) {
  nlmsghdr* header = mnl_nlmsg_put_header(datagram.data() + used);
  header->nlmsg_type = task.type;
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | task.flags | (last ? NLM_F_ACK : 0));
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
  used += MNL_ALIGN(header->nlmsg_len);
}

// Sends one datagram and records what was refused. Requests are numbered from `first`, which is their index plus one.
Result<> transact(mnl_socket* socket, const Task& task, std::span<const IpAddress> addresses, std::size_t first,
                  std::vector<AddressFailure>& failures) {
  std::vector<char> buffer(std::max(kAnswerSize, addresses.size() * kRequestSize));
  std::size_t used = 0;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const std::size_t begin = used;
    append_request(buffer, used, task, addresses[i], i + 1 == addresses.size());
    reinterpret_cast<nlmsghdr*>(buffer.data() + begin)->nlmsg_seq = static_cast<std::uint32_t>(first + i + 1);
  }
  if (mnl_socket_sendto(socket, buffer.data(), used) < 0) return tl::unexpected(batch_error("send", errno));
  while (true) {
    const ssize_t received = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) return tl::unexpected(batch_error("receive", errno));
    int rest = static_cast<int>(received);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; mnl_nlmsg_ok(message, rest); message = mnl_nlmsg_next(message, &rest)) {
      const std::size_t index = message->nlmsg_seq - first - 1;
      if (message->nlmsg_type != NLMSG_ERROR || index >= addresses.size()) continue;
      int negative = 0;
      std::memcpy(&negative, mnl_nlmsg_get_payload(message), sizeof negative);
      if (negative != 0) failures.push_back({first + index, batch_error(describe(task, addresses[index]), -negative)});
      if (index + 1 == addresses.size()) return {};
    }
  }
}

Result<SocketPtr> open_socket() {
  SocketPtr socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC), &mnl_socket_close);
  if (!socket) return tl::unexpected(batch_error("open a socket", errno));
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0)
    return tl::unexpected(batch_error("bind the socket", errno));
  if (::setsockopt(mnl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience) < 0) {
    return tl::unexpected(batch_error("set the receive timeout", errno));
  }
  int on = 1;  // refusals without a copy of the request in them
  if (mnl_socket_setsockopt(socket.get(), NETLINK_CAP_ACK, &on, sizeof on) < 0) {
    return tl::unexpected(batch_error("set NETLINK_CAP_ACK", errno));
  }
  return socket;
}

Result<std::vector<AddressFailure>> run(std::uint16_t type, std::uint16_t flags, const std::string& link,
                                        std::span<const IpAddress> addresses) {
  std::vector<AddressFailure> failures;
  if (addresses.empty()) return failures;
  const unsigned index = ::if_nametoindex(link.c_str());
  if (index == 0) return tl::unexpected(batch_error("find " + link, errno));
  SLUICE_TRY(const SocketPtr socket, open_socket());
  const Task task{type, flags, link, index};
  for (std::size_t first = 0; first < addresses.size(); first += kRequestsPerDatagram) {
    const auto some = addresses.subspan(first, std::min(kRequestsPerDatagram, addresses.size() - first));
    SLUICE_CHECK_OK(transact(socket.get(), task, some, first, failures));
  }
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
