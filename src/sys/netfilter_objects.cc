// SPDX-License-Identifier: Apache-2.0
// nfnetlink is one netlink protocol (NETLINK_NETFILTER) whose message type is two bytes: the subsystem (nf_tables 10,
// ipset 6) and its command. nf_tables accepts changes only as a batch between NFNL_MSG_BATCH_BEGIN and _END; ipset
// accepts single messages and replies to a dump with multi-part messages (net/netfilter/ipset/ip_set_core.c). A
// subsystem whose module is missing returns EOPNOTSUPP or EINVAL, which means here that there is nothing of that kind.
#include "sys/netfilter_objects.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>

#include "sys/netlink_attributes.h"
#include "sys/netlink_reply.h"

namespace sluice::sys {
namespace {

using SocketPtr = std::unique_ptr<mnl_socket, decltype(&mnl_socket_close)>;

Error system_error(const std::string& what, int error) {
  const Errc code = error == EPERM    ? Errc::kPermission
                    : error == ENOENT ? Errc::kNotFound
                    : error == EBUSY  ? Errc::kUnavailable
                                      : Errc::kInternal;
  return Error{code, fmt::format("{}: {}", what, std::strerror(error)), error};
}

Result<SocketPtr> open_socket() {
  SocketPtr socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC), &mnl_socket_close);
  if (!socket) return tl::unexpected(system_error("netfilter: open a netlink socket", errno));
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
    return tl::unexpected(system_error("netfilter: bind the netlink socket", errno));
  }
  return socket;
}

nlmsghdr* put_header(void* buffer, unsigned type, unsigned flags, std::uint8_t family, std::uint16_t resource,
                     unsigned sequence) {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
  header->nlmsg_type = static_cast<std::uint16_t>(type);
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  header->nlmsg_seq = sequence;
  auto* netfilter = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  netfilter->nfgen_family = family;
  netfilter->version = NFNETLINK_V0;
  netfilter->res_id = htons(resource);
  return header;
}

using OnMessage = std::function<void(const nlmsghdr*)>;

int call_on_message(const nlmsghdr* header, void* data) {
  (*static_cast<OnMessage*>(data))(header);
  return MNL_CB_OK;
}

// Sends one request and reads replies until the acknowledgement or the end of the dump. 0, or the errno that the kernel
// returned.
int converse(mnl_socket* socket, const void* request, std::size_t length, unsigned sequence, OnMessage on_message) {
  if (mnl_socket_sendto(socket, request, length) < 0) return errno;
  std::vector<char> buffer(kReplyBufferSize);
  while (true) {
    const ssize_t received = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (received < 0) return errno;
    const int more = mnl_cb_run(buffer.data(), static_cast<std::size_t>(received), sequence,
                                mnl_socket_get_portid(socket), call_on_message, &on_message);
    if (more < 0) return errno;
    if (more == MNL_CB_STOP) return 0;
  }
}

unsigned ipset_type(unsigned command) {
  return static_cast<unsigned>(NFNL_SUBSYS_IPSET << 8) | command;
}

nlmsghdr* put_ipset_request(void* buffer, unsigned command, unsigned flags, const std::string& name) {
  nlmsghdr* header = put_header(buffer, ipset_type(command), flags, AF_INET, 0, 1);
  mnl_attr_put_u8(header, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN);
  if (!name.empty()) mnl_attr_put_strz(header, IPSET_ATTR_SETNAME, name.c_str());
  return header;
}

template <typename Body>
void for_each_answer_attribute(const nlmsghdr* answer, Body body) {
  for_each_attribute(mnl_nlmsg_get_payload_offset(answer, sizeof(nfgenmsg)),
                     mnl_nlmsg_get_payload_len(answer) - sizeof(nfgenmsg), body);
}

bool subsystem_missing(int error) {
  return error == EOPNOTSUPP || error == EINVAL || error == EPROTONOSUPPORT;
}

// Appends the port, or the range of ports, of one element of a set.
void append_element_ports(const nlattr* element, std::vector<std::uint16_t>& ports) {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  for_each_nested(element, [&](const nlattr* attribute) {
    if (mnl_attr_get_payload_len(attribute) < sizeof(std::uint16_t)) return;
    if (mnl_attr_get_type(attribute) == IPSET_ATTR_PORT) first = ntohs(mnl_attr_get_u16(attribute));
    if (mnl_attr_get_type(attribute) == IPSET_ATTR_PORT_TO) last = ntohs(mnl_attr_get_u16(attribute));
  });
  if (first == 0) return;
  for (unsigned port = first; port <= std::max<unsigned>(first, last); ++port)
    ports.push_back(static_cast<std::uint16_t>(port));
}

}  // namespace

Result<bool> delete_nft_table(Family family, const std::string& name) {
  SLUICE_TRY(const SocketPtr socket, open_socket());
  const std::uint8_t protocol = family == Family::kIPv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
  std::vector<char> buffer(kReplyBufferSize);
  mnl_nlmsg_batch* raw = mnl_nlmsg_batch_start(buffer.data(), buffer.size() / 2);
  const std::unique_ptr<mnl_nlmsg_batch, decltype(&mnl_nlmsg_batch_stop)> batch(raw, &mnl_nlmsg_batch_stop);
  put_header(mnl_nlmsg_batch_current(raw), NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, 1);
  mnl_nlmsg_batch_next(raw);
  nlmsghdr* header =
      put_header(mnl_nlmsg_batch_current(raw), NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE, NLM_F_ACK, protocol, 0, 2);
  mnl_attr_put_strz(header, NFTA_TABLE_NAME, name.c_str());
  mnl_nlmsg_batch_next(raw);
  put_header(mnl_nlmsg_batch_current(raw), NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES, 3);
  mnl_nlmsg_batch_next(raw);
  const int error =
      converse(socket.get(), mnl_nlmsg_batch_head(raw), mnl_nlmsg_batch_size(raw), 0, [](const nlmsghdr*) {});
  if (error == 0) return true;
  if (error == ENOENT || subsystem_missing(error)) return false;
  return tl::unexpected(
      system_error(fmt::format("nftables: delete table {} {}", family == Family::kIPv4 ? "ip" : "ip6", name), error));
}

Result<std::vector<std::string>> list_ipsets() {
  SLUICE_TRY(const SocketPtr socket, open_socket());
  std::array<char, 1024> buffer{};
  nlmsghdr* header = put_ipset_request(buffer.data(), IPSET_CMD_LIST, NLM_F_DUMP, {});
  mnl_attr_put_u32(header, IPSET_ATTR_FLAGS, htonl(IPSET_FLAG_LIST_SETNAME));
  std::vector<std::string> names;
  const int error = converse(socket.get(), header, header->nlmsg_len, 1, [&names](const nlmsghdr* answer) {
    for_each_answer_attribute(answer, [&names](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) == IPSET_ATTR_SETNAME) names.emplace_back(mnl_attr_get_str(attribute));
    });
  });
  if (error == 0 || subsystem_missing(error)) return names;
  return tl::unexpected(system_error("ipset: list the sets", error));
}

Result<std::vector<std::uint16_t>> list_ipset_ports(const std::string& name) {
  SLUICE_TRY(const SocketPtr socket, open_socket());
  std::array<char, 1024> buffer{};
  const nlmsghdr* header = put_ipset_request(buffer.data(), IPSET_CMD_LIST, NLM_F_DUMP, name);
  std::vector<std::uint16_t> ports;
  const int error = converse(socket.get(), header, header->nlmsg_len, 1, [&ports](const nlmsghdr* answer) {
    for_each_answer_attribute(answer, [&ports](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) != IPSET_ATTR_ADT) return;
      for_each_nested(attribute, [&ports](const nlattr* element) { append_element_ports(element, ports); });
    });
  });
  if (error == 0) return ports;
  return tl::unexpected(system_error(fmt::format("ipset: list {}", name), subsystem_missing(error) ? ENOENT : error));
}

Result<bool> destroy_ipset(const std::string& name) {
  SLUICE_TRY(const SocketPtr socket, open_socket());
  std::array<char, 1024> buffer{};
  const nlmsghdr* header = put_ipset_request(buffer.data(), IPSET_CMD_DESTROY, NLM_F_ACK | NLM_F_EXCL, name);
  const int error = converse(socket.get(), header, header->nlmsg_len, 1, [](const nlmsghdr*) {});
  if (error == 0) return true;
  if (error == ENOENT || subsystem_missing(error)) return false;
  // IPSET_ERR_BUSY: a rule or another set still refers to it.
  return tl::unexpected(system_error(fmt::format("ipset: destroy {}", name), error == IPSET_ERR_BUSY ? EBUSY : error));
}

}  // namespace sluice::sys
