// SPDX-License-Identifier: Apache-2.0
// A netlink dump is one request and many replies: the kernel fills a buffer per recvmsg(2) and remembers where it
// stopped. Between two buffers the table may change; the kernel then sets NLM_F_DUMP_INTR on a reply, which means
// "some entries may be missing or double" (include/uapi/linux/netlink.h). Busy nodes change their conntrack table
// thousands of times a second, so rejecting every such dump would mean never finishing.
#include "sys/netlink_dump.h"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "sys/netlink_calls.h"
#include "sys/netlink_reply.h"

namespace sluice::sys {
namespace {

using SocketPtr = std::unique_ptr<mnl_socket, decltype(&mnl_socket_close)>;
constexpr timeval kAnswerTimeout{10, 0};

Error dump_error(const char* doing, int error) {
  const Errc code = error == EPERM                                           ? Errc::kPermission
                    : error == EOPNOTSUPP || error == EINVAL                 ? Errc::kUnsupported
                    : error == EAGAIN || error == ENOBUFS || error == ENOMEM ? Errc::kUnavailable
                                                                             : Errc::kInternal;
  return Error{code, fmt::format("netlink: {}: {}", doing, std::strerror(error)), error};
}

Result<SocketPtr> open_socket(int bus) {
  SocketPtr socket(mnl_socket_open2(bus, SOCK_CLOEXEC), &mnl_socket_close);
  if (!socket) return tl::unexpected(dump_error("open a socket", errno));
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0)
    return tl::unexpected(dump_error("bind the socket", errno));
  if (::setsockopt(mnl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof kAnswerTimeout) <
      0) {
    return tl::unexpected(dump_error("set the receive timeout", errno));
  }
  return socket;
}

enum class Progress : unsigned char { kMore, kDone };

Result<Progress> read_messages(const char* data, int length, const DumpReader& reader, bool& interrupted) {
  const auto* message = reinterpret_cast<const nlmsghdr*>(data);
  for (; mnl_nlmsg_ok(message, length); message = mnl_nlmsg_next(message, &length)) {
    if ((message->nlmsg_flags & NLM_F_DUMP_INTR) != 0) interrupted = true;
    if (is_end(*message)) {
      const int error = carried_error(*message);
      if (error == EINTR) interrupted = true;
      if (error != 0 && error != EINTR) return tl::unexpected(dump_error("dump", error));
      return Progress::kDone;
    }
    if (message->nlmsg_type >= NLMSG_MIN_TYPE) reader.answer(*message);
  }
  return Progress::kMore;
}

Result<DumpEnd> dump_once(int bus, const nlmsghdr& request, const DumpReader& reader) {
  reader.restart();
  SLUICE_TRY(const SocketPtr socket, open_socket(bus));
  const int descriptor = mnl_socket_get_fd(socket.get());
  if (netlink_calls().send(descriptor, {reinterpret_cast<const char*>(&request), request.nlmsg_len}) < 0)
    return tl::unexpected(dump_error("send a dump request", errno));
  std::vector<char> buffer(kReplyBufferSize);
  bool interrupted = false;
  while (true) {
    const ssize_t received = netlink_calls().receive(descriptor, buffer, 0);
    if (received < 0) {
      if (errno == EINTR) continue;  // a signal, not the dump
      return tl::unexpected(dump_error("receive a dump", errno));
    }
    SLUICE_TRY(const Progress progress, read_messages(buffer.data(), static_cast<int>(received), reader, interrupted));
    if (progress == Progress::kDone) return interrupted ? DumpEnd::kInterrupted : DumpEnd::kComplete;
  }
}

}  // namespace

Result<> repeat_dump(const std::function<Result<DumpEnd>()>& attempt) {
  for (int attempts = 0; attempts < kDumpAttemptsMax; ++attempts) {
    const Result<DumpEnd> end = attempt();
    // Replies were lost, so the list has no end.
    if (!end && end.error().sys_errno == ENOBUFS && attempts + 1 < kDumpAttemptsMax) continue;
    if (!end) return tl::unexpected(end.error());
    if (*end == DumpEnd::kComplete) break;
  }
  return {};
}

Result<> dump_netlink(int bus, nlmsghdr& request, const DumpReader& reader) {
  return repeat_dump([&] { return dump_once(bus, request, reader); });
}

}  // namespace sluice::sys
