// SPDX-License-Identifier: Apache-2.0
// A generic netlink family has a fixed name and a number that the kernel assigns at each boot; the
// controller, a family whose number is fixed (GENL_ID_CTRL), maps one to the other. Requests can be put after each
// other in one datagram: the kernel processes all of them before sendmsg(2) returns, a refused one does not stop
// the next (netlink_rcv_skb()). Acknowledgements wait in the socket's buffer meanwhile, and if that is full they are
// lost, so a datagram holds no more requests than the default buffer holds replies, and only the last one requests an
// acknowledgement: refusals are reported anyway.
#include "sys/genetlink.h"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "sys/netlink_reply.h"

namespace sluice::sys {
namespace {

constexpr std::size_t kRequestsPerDatagram = 128;
constexpr std::chrono::milliseconds kPatience = std::chrono::seconds(30);

Error system_error(std::string_view doing, int error) {
  const Errc code = error == EPERM                           ? Errc::kPermission
                    : error == ESRCH                         ? Errc::kNotFound
                    : error == EINVAL                        ? Errc::kInvalid
                    : error == EOPNOTSUPP || error == ENOENT ? Errc::kUnsupported
                    : error == ETIMEDOUT || error == ENOBUFS ? Errc::kUnavailable
                                                             : Errc::kInternal;
  return Error{code, fmt::format("generic netlink: {}: {}", doing, std::strerror(error)), error};
}

std::span<const std::uint8_t> attributes_of(const nlmsghdr& message) {
  const std::size_t length = mnl_nlmsg_get_payload_len(&message);
  if (length <= sizeof(genlmsghdr)) return {};
  const auto* payload = static_cast<const std::uint8_t*>(mnl_nlmsg_get_payload(&message));
  return {payload + sizeof(genlmsghdr), length - sizeof(genlmsghdr)};
}

constexpr std::size_t padded(std::size_t length) {
  return (length + 3) & ~std::size_t{3};
}

}  // namespace

void AttributeWriter::put(std::uint16_t type, std::span<const std::uint8_t> value) {
  const std::size_t begin = bytes_.size();
  bytes_.resize(begin + padded(sizeof(nlattr) + value.size()));
  const nlattr header{static_cast<std::uint16_t>(sizeof(nlattr) + value.size()), type};
  std::memcpy(bytes_.data() + begin, &header, sizeof header);
  if (!value.empty()) std::memcpy(bytes_.data() + begin + sizeof header, value.data(), value.size());
}

void AttributeWriter::put_u16(std::uint16_t type, std::uint16_t value) {
  std::uint8_t bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  put(type, bytes);
}

void AttributeWriter::put_u32(std::uint16_t type, std::uint32_t value) {
  std::uint8_t bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  put(type, bytes);
}

void AttributeWriter::put_text(std::uint16_t type, std::string_view value) {
  std::vector<std::uint8_t> bytes(value.begin(), value.end());
  bytes.push_back(0);
  put(type, bytes);
}

std::size_t AttributeWriter::begin_nest(std::uint16_t type) {
  const std::size_t begun = bytes_.size();
  put(type, {});
  return begun;
}

void AttributeWriter::end_nest(std::size_t begun) {
  const auto length = static_cast<std::uint16_t>(bytes_.size() - begun);
  std::memcpy(bytes_.data() + begun + offsetof(nlattr, nla_len), &length, sizeof length);
}

void for_each_attribute(std::span<const std::uint8_t> bytes, const std::function<void(const Attribute&)>& visit) {
  while (bytes.size() >= sizeof(nlattr)) {
    nlattr header{};
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.nla_len < sizeof header || header.nla_len > bytes.size()) return;
    visit({static_cast<std::uint16_t>(header.nla_type & NLA_TYPE_MASK),
           bytes.subspan(sizeof header, header.nla_len - sizeof header)});
    bytes = bytes.subspan(std::min(bytes.size(), padded(header.nla_len)));
  }
}

void GenericNetlink::CloseSocket::operator()(mnl_socket* socket) const {
  mnl_socket_close(socket);
}

GenericNetlink::GenericNetlink(SocketPtr socket)
    : socket_(std::move(socket)), family_(GENL_ID_CTRL), buffer_(kReplyBufferSize) {}

Result<GenericNetlink> GenericNetlink::open(const std::string& family) {
  SocketPtr socket(mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC));
  if (!socket) return tl::unexpected(system_error("open a socket", errno));
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0)
    return tl::unexpected(system_error("bind the socket", errno));
  int on = 1;  // refusals without a copy of the request in them
  if (mnl_socket_setsockopt(socket.get(), NETLINK_CAP_ACK, &on, sizeof on) < 0) {
    return tl::unexpected(system_error("set NETLINK_CAP_ACK", errno));
  }
  GenericNetlink opened(std::move(socket));
  AttributeWriter name;
  name.put_text(CTRL_ATTR_FAMILY_NAME, family);
  std::uint16_t number = 0;
  const Result<> asked =
      opened.ask({CTRL_CMD_GETFAMILY, std::move(name).take()}, [&](std::span<const std::uint8_t> attributes) {
        for_each_attribute(attributes, [&](const Attribute& attribute) {
          if (attribute.type == CTRL_ATTR_FAMILY_ID && attribute.value.size() >= sizeof number) {
            std::memcpy(&number, attribute.value.data(), sizeof number);
          }
        });
      });
  if (!asked) return annotate(asked.error(), fmt::format("family {}", family));
  if (number == 0)
    return fail(Errc::kInternal, fmt::format("generic netlink: the reply about family {} has no number", family),
                EPROTO);
  opened.family_ = number;
  return opened;
}

void GenericNetlink::append_message(std::vector<std::uint8_t>& datagram, const GenericRequest& request,
                                    std::uint16_t flags) {
  const std::size_t begin = datagram.size();
  const std::size_t length = NLMSG_HDRLEN + GENL_HDRLEN + request.attributes.size();
  datagram.resize(begin + padded(length));
  const nlmsghdr header{static_cast<std::uint32_t>(length), family_, static_cast<std::uint16_t>(NLM_F_REQUEST | flags),
                        ++sequence_, 0};
  const genlmsghdr generic{request.command, 1, 0};
  std::memcpy(datagram.data() + begin, &header, sizeof header);
  std::memcpy(datagram.data() + begin + NLMSG_HDRLEN, &generic, sizeof generic);
  std::copy(request.attributes.begin(), request.attributes.end(),
            datagram.begin() + static_cast<std::ptrdiff_t>(begin + NLMSG_HDRLEN + GENL_HDRLEN));
}

Result<> GenericNetlink::send(const std::vector<std::uint8_t>& datagram) {
  if (mnl_socket_sendto(socket_.get(), datagram.data(), datagram.size()) < 0)
    return tl::unexpected(system_error("send", errno));
  return {};
}

Result<> GenericNetlink::receive(std::chrono::milliseconds patience,
                                 const std::function<void(const nlmsghdr&)>& visit) {
  pollfd waiting{mnl_socket_get_fd(socket_.get()), POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&waiting, 1, static_cast<int>(patience.count()));
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) return tl::unexpected(system_error("wait for a reply", ETIMEDOUT));
  const ssize_t received = mnl_socket_recvfrom(socket_.get(), buffer_.data(), buffer_.size());
  if (received < 0) return tl::unexpected(system_error("receive", errno));
  int rest = static_cast<int>(received);
  const auto* message = reinterpret_cast<const nlmsghdr*>(buffer_.data());
  for (; mnl_nlmsg_ok(message, rest); message = mnl_nlmsg_next(message, &rest)) visit(*message);
  return {};
}

Result<> GenericNetlink::converse(const GenericRequest& request, std::uint16_t flags, const Answer& answer) {
  std::vector<std::uint8_t> datagram;
  append_message(datagram, request, flags);
  SLUICE_CHECK_OK(send(datagram));
  const std::uint32_t asked = sequence_;
  int error = 0;
  bool ended = false;
  while (!ended) {
    SLUICE_CHECK_OK(receive(kPatience, [&](const nlmsghdr& message) {
      // Replies to an earlier request whose wait was given up may still arrive.
      if (message.nlmsg_seq != asked || ended) return;
      if (is_end(message)) {
        error = carried_error(message);
        ended = true;
      } else if (message.nlmsg_type >= NLMSG_MIN_TYPE) {
        answer(attributes_of(message));
      }
    }));
  }
  if (error != 0) return tl::unexpected(system_error(fmt::format("command {}", request.command), error));
  return {};
}

Result<> GenericNetlink::ask(const GenericRequest& request, const Answer& answer) {
  return converse(request, NLM_F_ACK, answer);
}
Result<> GenericNetlink::dump(const GenericRequest& request, const Answer& answer) {
  return converse(request, NLM_F_DUMP, answer);
}

Result<> GenericNetlink::transact_some(std::span<const GenericRequest> requests, std::chrono::milliseconds patience,
                                       std::vector<int>& outcomes) {
  std::vector<std::uint8_t> datagram;
  const std::uint32_t first = sequence_ + 1;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    append_message(datagram, requests[i], i + 1 == requests.size() ? NLM_F_ACK : std::uint16_t{0});
  }
  SLUICE_CHECK_OK(send(datagram));
  const std::size_t begin = outcomes.size();
  outcomes.resize(begin + requests.size(), 0);
  bool ended = false;
  while (!ended) {
    SLUICE_CHECK_OK(receive(patience, [&](const nlmsghdr& message) {
      const std::uint32_t index = message.nlmsg_seq - first;
      if (index >= requests.size() || message.nlmsg_type != NLMSG_ERROR) return;
      outcomes[begin + index] = carried_error(message);
      ended = ended || index + 1 == requests.size();
    }));
  }
  return {};
}

Result<std::vector<int>> GenericNetlink::transact(std::span<const GenericRequest> requests,
                                                  std::chrono::milliseconds patience) {
  std::vector<int> outcomes;
  outcomes.reserve(requests.size());
  while (!requests.empty()) {
    const auto some = requests.first(std::min(requests.size(), kRequestsPerDatagram));
    SLUICE_CHECK_OK(transact_some(some, patience, outcomes));
    requests = requests.subspan(some.size());
  }
  return outcomes;
}

}  // namespace sluice::sys
