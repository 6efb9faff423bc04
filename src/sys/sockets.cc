// SPDX-License-Identifier: Apache-2.0
// One socket for both families: an IPv6 socket with IPV6_V6ONLY off also takes IPv4, whose addresses it shows
// v4-mapped, just as IpAddress holds them. So the server side needs no twin for IPv6.
//
// UDP needs care. A server bound to every address replies from whichever address the route to the client prefers; a
// client that sent to another one drops that reply, and connection tracking does not recognise it. IPV6_RECVPKTINFO
// reports where a datagram was sent to, and the same structure sent along with the reply makes the kernel use that as
// the source (RFC 3542 section 6).
#include "sys/sockets.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "sys/netns.h"

namespace sluice::sys {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr int kListenBacklog = 1024;
constexpr std::size_t kReadSize = 4096;

Error socket_error(const std::string& what, int error) {
  const Errc code = error == EPERM || error == EACCES                       ? Errc::kPermission
                    : error == EADDRINUSE                                   ? Errc::kAlreadyExists
                    : error == EADDRNOTAVAIL || error == EINVAL             ? Errc::kInvalid
                    : error == EMFILE || error == ENFILE || error == ENOMEM ? Errc::kExhausted
                    : error == EPROTONOSUPPORT || error == EAFNOSUPPORT     ? Errc::kUnsupported
                                                                            : Errc::kUnavailable;
  return Error{code, fmt::format("{}: {}", what, std::strerror(error)), error};
}

sockaddr_in6 to_kernel(const SocketAddress& socket) {
  sockaddr_in6 out{};
  out.sin6_family = AF_INET6;
  out.sin6_port = htons(socket.port);
  std::memcpy(&out.sin6_addr, socket.address.mapped_bytes().data(), sizeof(out.sin6_addr));
  return out;
}

IpAddress from_kernel(const in6_addr& address) {
  std::array<std::uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), &address, bytes.size());
  return IpAddress::from_bytes(bytes).value_or(IpAddress());
}

SocketAddress from_kernel(const sockaddr_in6& address) {
  return {from_kernel(address.sin6_addr), ntohs(address.sin6_port)};
}

const sockaddr* generic(const sockaddr_in6& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}
sockaddr* generic(sockaddr_in6& address) {
  return reinterpret_cast<sockaddr*>(&address);
}

void set_option(const UniqueFd& socket, int level, int name, int value) {
  ::setsockopt(socket.get(), level, name, &value, sizeof(value));
}

Result<UniqueFd> open_dual_stack(int type) {
  UniqueFd socket(::socket(AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return tl::unexpected(socket_error("socket", errno));
  set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  return socket;
}

Result<UniqueFd> bind_every_address(int type, std::uint16_t port) {
  SLUICE_TRY(UniqueFd socket, open_dual_stack(type));
  if (type == SOCK_STREAM) set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  if (type == SOCK_DGRAM) set_option(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  const sockaddr_in6 address = to_kernel({IpAddress(), port});
  if (::bind(socket.get(), generic(address), sizeof(address)) != 0) {
    return tl::unexpected(socket_error(fmt::format("bind port {}", port), errno));
  }
  return socket;
}

// Waits until the socket is ready for `events`, or returns ETIMEDOUT.
int wait_for(const UniqueFd& socket, short events, std::chrono::milliseconds timeout) {
  const auto deadline = SteadyClock::now() + timeout;
  pollfd entry{.fd = socket.get(), .events = events, .revents = 0};
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now());
    if (left.count() < 0) return ETIMEDOUT;
    const int ready = ::poll(&entry, 1, static_cast<int>(left.count()));
    if (ready > 0) return 0;
    if (ready == 0) return ETIMEDOUT;
    if (errno != EINTR) return errno;
  }
}

int finish_connect(const UniqueFd& socket, std::chrono::milliseconds timeout) {
  if (const int error = wait_for(socket, POLLOUT, timeout); error != 0) return error;
  int error = 0;
  socklen_t size = sizeof(error);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

bool nothing_now(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace

Result<UniqueFd> listen_tcp(std::uint16_t port) {
  SLUICE_TRY(UniqueFd socket, bind_every_address(SOCK_STREAM, port));
  if (::listen(socket.get(), kListenBacklog) != 0) {
    return tl::unexpected(socket_error(fmt::format("listen on port {}", port), errno));
  }
  return socket;
}

Result<UniqueFd> bind_udp(std::uint16_t port) {
  return bind_every_address(SOCK_DGRAM, port);
}

Result<std::optional<AcceptedConnection>> accept_connection(const UniqueFd& listener) {
  sockaddr_in6 client{};
  socklen_t size = sizeof(client);
  UniqueFd socket(::accept4(listener.get(), generic(client), &size, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) {
    // ECONNABORTED: it was closed before we accepted it.
    if (nothing_now(errno) || errno == ECONNABORTED) return std::optional<AcceptedConnection>();
    return tl::unexpected(socket_error("accept", errno));
  }
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  SLUICE_TRY(const SocketAddress local, local_address(socket));
  return AcceptedConnection{std::move(socket), from_kernel(client), local};
}

Result<std::optional<Datagram>> receive_datagram(const UniqueFd& socket) {
  std::array<char, kReadSize> data{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(in6_pktinfo))> control{};
  sockaddr_in6 client{};
  iovec part{data.data(), data.size()};
  msghdr message{};
  message.msg_name = &client;
  message.msg_namelen = sizeof(client);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t received = ::recvmsg(socket.get(), &message, 0);
  if (received < 0) {
    if (nothing_now(errno)) return std::optional<Datagram>();
    return tl::unexpected(socket_error("receive", errno));
  }
  Datagram datagram{
      .data = std::string(data.data(), static_cast<std::size_t>(received)), .client = from_kernel(client), .local = {}};
  for (cmsghdr* entry = CMSG_FIRSTHDR(&message); entry != nullptr; entry = CMSG_NXTHDR(&message, entry)) {
    if (entry->cmsg_level != IPPROTO_IPV6 || entry->cmsg_type != IPV6_PKTINFO) continue;
    in6_pktinfo info{};
    std::memcpy(&info, CMSG_DATA(entry), sizeof(info));
    datagram.local = from_kernel(info.ipi6_addr);
  }
  return datagram;
}

Result<> reply_datagram(const UniqueFd& socket, const Datagram& request, std::string_view data) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(in6_pktinfo))> control{};
  sockaddr_in6 client = to_kernel(request.client);
  std::string bytes(data);
  iovec part{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_name = &client;
  message.msg_namelen = sizeof(client);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* entry = CMSG_FIRSTHDR(&message);
  entry->cmsg_level = IPPROTO_IPV6;
  entry->cmsg_type = IPV6_PKTINFO;
  entry->cmsg_len = CMSG_LEN(sizeof(in6_pktinfo));
  in6_pktinfo info{};
  std::memcpy(&info.ipi6_addr, request.local.mapped_bytes().data(), sizeof(info.ipi6_addr));
  std::memcpy(CMSG_DATA(entry), &info, sizeof(info));
  if (::sendmsg(socket.get(), &message, MSG_NOSIGNAL) < 0) {
    return tl::unexpected(socket_error("reply to " + to_string(request.client), errno));
  }
  return {};
}

Result<std::optional<std::string>> read_some(const UniqueFd& socket) {
  std::array<char, kReadSize> data{};
  const ssize_t received = ::recv(socket.get(), data.data(), data.size(), MSG_DONTWAIT);
  if (received >= 0) return std::string(data.data(), static_cast<std::size_t>(received));
  if (nothing_now(errno)) return std::optional<std::string>();
  return tl::unexpected(socket_error("read", errno));
}

Result<std::size_t> write_some(const UniqueFd& socket, std::string_view data) {
  const ssize_t sent = ::send(socket.get(), data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent >= 0) return static_cast<std::size_t>(sent);
  if (nothing_now(errno)) return std::size_t{0};
  return tl::unexpected(socket_error("write", errno));
}

Result<UniqueFd> connect_socket(const ConnectSpec& spec) {
  const std::string what = fmt::format("connect to {} {}", lower_name(spec.protocol), to_string(spec.to));
  if (spec.protocol == Protocol::kSctp) return fail(Errc::kUnsupported, what + ": SCTP sockets are not supported here");
  const int type = spec.protocol == Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM;
  UniqueFd socket;
  const auto open = [&]() -> Result<> {
    SLUICE_TRY(socket, open_dual_stack(type));
    return {};
  };
  SLUICE_CHECK_OK(spec.netns.empty() ? open() : in_netns(spec.netns, open));
  if (type == SOCK_STREAM) set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  if (spec.from) {
    const sockaddr_in6 from = to_kernel(*spec.from);
    set_option(socket, SOL_SOCKET, SO_REUSEADDR,
               1);  // a port may be reused although an old connection lingers on it
    if (::bind(socket.get(), generic(from), sizeof(from)) != 0) {
      return tl::unexpected(socket_error(fmt::format("{} from {}", what, to_string(*spec.from)), errno));
    }
  }
  const sockaddr_in6 to = to_kernel(spec.to);
  if (::connect(socket.get(), generic(to), sizeof(to)) == 0) return socket;
  int error = errno;
  if (error == EINPROGRESS) error = finish_connect(socket, spec.timeout);
  if (error != 0) return tl::unexpected(socket_error(what, error));
  return socket;
}

ClientFailure client_failure(const Error& error) {
  switch (error.sys_errno) {
    case ECONNREFUSED:
    case ECONNRESET:
      return ClientFailure::kRefused;
    case ETIMEDOUT:
      return ClientFailure::kTimedOut;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EACCES:
      return ClientFailure::kUnreachable;
    default:
      return ClientFailure::kOther;
  }
}

Result<std::string> receive_within(const UniqueFd& socket, std::chrono::milliseconds timeout) {
  const auto deadline = SteadyClock::now() + timeout;
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now());
    if (const int error = wait_for(socket, POLLIN, std::max(left, std::chrono::milliseconds(0))); error != 0) {
      return tl::unexpected(socket_error("wait for a response", error));
    }
    SLUICE_TRY(std::optional<std::string> data, read_some(socket));
    if (data) return *std::move(data);
  }
}

Result<> send_within(const UniqueFd& socket, std::string_view data, std::chrono::milliseconds timeout) {
  const auto deadline = SteadyClock::now() + timeout;
  do {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - SteadyClock::now());
    if (const int error = wait_for(socket, POLLOUT, std::max(left, std::chrono::milliseconds(0))); error != 0) {
      return tl::unexpected(socket_error("send", error));
    }
    SLUICE_TRY(const std::size_t sent, write_some(socket, data));
    data.remove_prefix(sent);
  } while (!data.empty());
  return {};
}

Result<SocketAddress> local_address(const UniqueFd& socket) {
  sockaddr_in6 address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket.get(), generic(address), &size) != 0)
    return tl::unexpected(socket_error("local address", errno));
  return from_kernel(address);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace sluice::sys
