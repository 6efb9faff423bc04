// SPDX-License-Identifier: Apache-2.0
// The kernel remembers each flow as two tuples: the original one (from the client) and the reply (to the client).
// For a client of the cluster IP 10.96.0.10:53 that was sent to the pod 10.244.1.7:53 the original destination is
// the former and the reply source the latter. As long as the entry exists, later packets of the flow go to that pod
// without consulting any rule, so a UDP client that keeps its socket sends to a dead pod forever; deleting the entry
// makes the next packet choose again.
//
// ctnetlink (net/netfilter/nf_conntrack_netlink.c) dumps entries as nested attributes. What identifies an entry for
// deletion is kept as the bytes that were dumped: the reply tuple, the zone and CTA_ID. The reply tuple and not the
// original one, because a client may have started again meanwhile: its new entry has the same original tuple and often
// even the same id (the id is a hash of the entry's place in memory and of the original tuple, nf_ct_get_id()), but
// replies come from another endpoint, so the kernel finds nothing to delete. A deletion without a tuple would flush the
// whole table, so an entry without one is never a candidate.
#include "sys/conntrack.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <span>

#include "sys/netlink_attributes.h"
#include "sys/netlink_dump.h"

namespace sluice::sys {
namespace {

using SocketPtr = std::unique_ptr<mnl_socket, decltype(&mnl_socket_close)>;
using Attributes = std::vector<char>;  // raw, padded netlink attributes

constexpr timeval kAnswerTimeout{10, 0};
// CTA_FILTER_F_CTA_PROTO_NUM of net/netfilter/nf_internals.h, which is not an installed header: compare the protocol
// number. Kernels before 5.8 ignore CTA_FILTER and dump everything, so entries are checked again here.
constexpr std::uint32_t kFilterByProtocol = 1U << 3;

struct Tuple {
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
};

IpAddress attribute_address(const nlattr* attribute) {
  const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
  return IpAddress::from_bytes(std::span(bytes, mnl_attr_get_payload_len(attribute))).value_or(IpAddress());
}

std::uint16_t attribute_port(const nlattr* attribute) {
  return mnl_attr_get_payload_len(attribute) < sizeof(std::uint16_t) ? std::uint16_t{0}
                                                                     : ntohs(mnl_attr_get_u16(attribute));
}

void read_addresses(const nlattr* nested, Tuple& tuple) {
  for_each_nested(nested, [&tuple](const nlattr* attribute) {
    const std::uint16_t type = mnl_attr_get_type(attribute);
    if (type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC) tuple.source = attribute_address(attribute);
    if (type == CTA_IP_V4_DST || type == CTA_IP_V6_DST) tuple.destination = attribute_address(attribute);
  });
}

void read_protocol(const nlattr* nested, Tuple& tuple) {
  for_each_nested(nested, [&tuple](const nlattr* attribute) {
    const std::uint16_t type = mnl_attr_get_type(attribute);
    if (type == CTA_PROTO_NUM && mnl_attr_get_payload_len(attribute) >= 1) tuple.protocol = mnl_attr_get_u8(attribute);
    if (type == CTA_PROTO_SRC_PORT) tuple.source_port = attribute_port(attribute);
    if (type == CTA_PROTO_DST_PORT) tuple.destination_port = attribute_port(attribute);
  });
}

Tuple read_tuple(const nlattr* nested) {
  Tuple tuple;
  for_each_nested(nested, [&tuple](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == CTA_TUPLE_IP) read_addresses(attribute, tuple);
    if (mnl_attr_get_type(attribute) == CTA_TUPLE_PROTO) read_protocol(attribute, tuple);
  });
  return tuple;
}

// One dumped entry: what the caller judges, and what a deletion must contain.
struct Entry {
  std::optional<Tuple> original;
  std::optional<Tuple> reply;
  std::uint16_t zone = 0;
  Attributes identity;
};

void append_attribute(const nlattr* attribute, Attributes& to) {
  const auto* bytes = reinterpret_cast<const char*>(attribute);
  to.insert(to.end(), bytes, bytes + attribute->nla_len);
  to.resize(MNL_ALIGN(to.size()));
}

Entry read_entry(const nlmsghdr& answer) {
  Entry entry;
  const auto read = [&entry](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case CTA_TUPLE_ORIG:
        entry.original = read_tuple(attribute);
        break;
      case CTA_TUPLE_REPLY:
        entry.reply = read_tuple(attribute);
        append_attribute(attribute, entry.identity);
        break;
      case CTA_ZONE:
        entry.zone = attribute_port(attribute);
        append_attribute(attribute, entry.identity);
        break;
      case CTA_ID:
        append_attribute(attribute, entry.identity);
        break;
      default:
        break;
    }
  };
  for_each_attribute(mnl_nlmsg_get_payload_offset(&answer, sizeof(nfgenmsg)),
                     mnl_nlmsg_get_payload_len(&answer) - sizeof(nfgenmsg), read);
  return entry;
}

std::uint8_t address_family(Family family) {
  return family == Family::kIPv4 ? AF_INET : AF_INET6;
}

nlmsghdr* put_header(void* buffer, unsigned command, unsigned flags, Family family) {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
  header->nlmsg_type = static_cast<std::uint16_t>(NFNL_SUBSYS_CTNETLINK << 8 | command);
  header->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
  auto* netfilter = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  netfilter->nfgen_family = address_family(family);
  netfilter->version = NFNETLINK_V0;
  return header;
}

// Lets the kernel leave out the other protocols' flows: most of a busy node's table is TCP.
void put_protocol_filter(nlmsghdr* header, Protocol protocol) {
  nlattr* tuple = mnl_attr_nest_start(header, CTA_TUPLE_ORIG);
  nlattr* inner = mnl_attr_nest_start(header, CTA_TUPLE_PROTO);
  mnl_attr_put_u8(header, CTA_PROTO_NUM, ip_protocol_number(protocol));
  mnl_attr_nest_end(header, inner);
  mnl_attr_nest_end(header, tuple);
  nlattr* filter = mnl_attr_nest_start(header, CTA_FILTER);
  mnl_attr_put_u32(header, CTA_FILTER_ORIG_FLAGS, kFilterByProtocol);
  mnl_attr_put_u32(header, CTA_FILTER_REPLY_FLAGS, 0);
  mnl_attr_nest_end(header, filter);
}

Result<std::vector<Attributes>> find_stale(Family family, Protocol protocol,
                                           const std::function<bool(const Flow&)>& stale) {
  alignas(nlmsghdr) std::array<char, 256> buffer{};
  nlmsghdr* request = put_header(buffer.data(), IPCTNL_MSG_CT_GET, NLM_F_DUMP, family);
  put_protocol_filter(request, protocol);
  std::vector<Attributes> found;
  const auto take = [&](const nlmsghdr& answer) {
    if (mnl_nlmsg_get_payload_len(&answer) < sizeof(nfgenmsg)) return;
    Entry entry = read_entry(answer);
    if (!entry.original || !entry.reply || entry.original->protocol != ip_protocol_number(protocol)) return;
    const Flow flow{protocol,
                    entry.original->source,
                    entry.original->destination,
                    entry.reply->source,
                    entry.original->source_port,
                    entry.original->destination_port,
                    entry.reply->source_port,
                    entry.zone};
    if (stale(flow)) found.push_back(std::move(entry.identity));
  };
  SLUICE_CHECK_OK(dump_netlink(NETLINK_NETFILTER, *request, {[&] { found.clear(); }, take}));
  return found;
}

Error deletion_error(const char* doing, int error) {
  return Error{error == EPERM ? Errc::kPermission : Errc::kInternal, fmt::format("{}: {}", doing, std::strerror(error)),
               error};
}

Result<SocketPtr> open_socket() {
  SocketPtr socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC), &mnl_socket_close);
  if (!socket) return tl::unexpected(deletion_error("open a netlink socket", errno));
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0)
    return tl::unexpected(deletion_error("bind the netlink socket", errno));
  if (::setsockopt(mnl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof kAnswerTimeout) <
      0) {
    return tl::unexpected(deletion_error("set the receive timeout", errno));
  }
  return socket;
}

// 0, or the errno that the kernel returned.
int delete_entry(mnl_socket* socket, Family family, const Attributes& identity) {
  std::vector<char> buffer(MNL_ALIGN(sizeof(nlmsghdr)) + MNL_ALIGN(sizeof(nfgenmsg)) + identity.size());
  nlmsghdr* request = put_header(buffer.data(), IPCTNL_MSG_CT_DELETE, NLM_F_ACK, family);
  std::memcpy(mnl_nlmsg_get_payload_tail(request), identity.data(), identity.size());
  request->nlmsg_len += static_cast<std::uint32_t>(identity.size());
  if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0) return errno;
  alignas(nlmsghdr) std::array<char, 4096> answer{};
  ssize_t received = 0;
  do {
    received = mnl_socket_recvfrom(socket, answer.data(), answer.size());
  } while (received < 0 && errno == EINTR);
  if (received < 0) return errno;
  return mnl_cb_run(answer.data(), static_cast<std::size_t>(received), 0, 0, nullptr, nullptr) < 0 ? errno : 0;
}

}  // namespace

Result<std::size_t> delete_flows(Family family, Protocol protocol, const std::function<bool(const Flow&)>& stale) {
  auto found = find_stale(family, protocol, stale);
  if (!found) return annotate(found.error(), "conntrack: list flows");
  if (found->empty()) return std::size_t{0};
  SLUICE_TRY(const SocketPtr socket, open_socket());
  std::size_t deleted = 0;
  std::size_t failed = 0;
  int first_error = 0;
  for (const Attributes& identity : *found) {
    const int error = delete_entry(socket.get(), family, identity);
    if (error == 0) ++deleted;
    if (error == 0 || error == ENOENT) continue;
    if (failed++ == 0) first_error = error;
  }
  if (failed == 0) return deleted;
  const std::string doing =
      fmt::format("conntrack: {} of {} stale flows could not be deleted, the first", failed, found->size());
  return tl::unexpected(deletion_error(doing.c_str(), first_error));
}

}  // namespace sluice::sys
