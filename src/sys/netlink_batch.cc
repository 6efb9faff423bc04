// SPDX-License-Identifier: Apache-2.0
// A node of a large cluster has one object per Service in the kernel, thousands of them, and setting them one at a time, each
// with its own socket and reply, is what made kube-proxy's mode ipvs slow to start. rtnetlink, like all of netlink, processes every
// message of a datagram before sendmsg(2) returns, and a refused one does not stop the next (netlink_rcv_skb() in
// net/netlink/af_netlink.c). So many requests go out in one datagram. Refusals are always reported; of the accepted ones
// only the last requests an acknowledgement, so the replies fit the socket's buffer in every case.
#include "sys/netlink_batch.h"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
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
constexpr std::size_t kRequestsPerBatch = 128;
constexpr std::size_t kBatchBufferSize = 64 * 1024;
static_assert(kBatchBufferSize >= kRequestsPerBatch * kBatchRequestSizeMax);
constexpr timeval kBatchPatience{30, 0};

Error unreachable_kernel(const char* what, const char* doing, int error) {
  const Errc code = error == EPERM                        ? Errc::kPermission
                    : error == EAGAIN || error == ENOBUFS ? Errc::kUnavailable
                                                          : Errc::kInternal;
  return Error{code, fmt::format("{}: {}: {}", what, doing, std::strerror(error)), error};
}

Result<SocketPtr> open_batch_socket(const char* what) {
  SocketPtr socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC), &mnl_socket_close);
  if (!socket) return tl::unexpected(unreachable_kernel(what, "open a socket", errno));
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0)
    return tl::unexpected(unreachable_kernel(what, "bind the socket", errno));
  if (::setsockopt(mnl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVTIMEO, &kBatchPatience, sizeof kBatchPatience) <
      0)
    return tl::unexpected(unreachable_kernel(what, "set the receive timeout", errno));
  int on = 1;  // refusals without a copy of the request in them
  if (mnl_socket_setsockopt(socket.get(), NETLINK_CAP_ACK, &on, sizeof on) < 0)
    return tl::unexpected(unreachable_kernel(what, "set NETLINK_CAP_ACK", errno));
  return socket;
}

// The requests from `first` to before `end`, which are numbered by their index plus one.
struct Datagram {
  std::size_t first;
  std::size_t end;
};

Result<> receive_refusals(const char* what, mnl_socket* socket, const Datagram& datagram,
                          std::vector<BatchRefusal>& refused) {
  std::vector<char> buffer(kBatchBufferSize);
  while (true) {
    const ssize_t received = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) return tl::unexpected(unreachable_kernel(what, "receive", errno));
    int rest = static_cast<int>(received);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; mnl_nlmsg_ok(message, rest); message = mnl_nlmsg_next(message, &rest)) {
      const std::size_t index = std::size_t{message->nlmsg_seq} - 1;
      if (message->nlmsg_type != NLMSG_ERROR || index < datagram.first || index >= datagram.end) continue;
      int negative = 0;
      std::memcpy(&negative, mnl_nlmsg_get_payload(message), sizeof negative);
      if (negative != 0) refused.push_back({index, -negative});
      if (index + 1 == datagram.end) return {};
    }
  }
}

}  // namespace

Result<std::vector<BatchRefusal>> send_batch(const char* what, std::size_t count, const WriteRequest& write) {
  std::vector<BatchRefusal> refused;
  if (count == 0) return refused;
  SLUICE_TRY(const SocketPtr socket, open_batch_socket(what));
  std::vector<char> buffer(kBatchBufferSize);
  for (std::size_t first = 0; first < count; first += kRequestsPerBatch) {
    const Datagram datagram{first, std::min(first + kRequestsPerBatch, count)};
    std::size_t used = 0;
    for (std::size_t index = first; index < datagram.end; ++index) {
      nlmsghdr* header = write(buffer.data() + used, index);
      header->nlmsg_seq = static_cast<std::uint32_t>(index + 1);
      if (index + 1 == datagram.end) header->nlmsg_flags |= NLM_F_ACK;
      used += MNL_ALIGN(header->nlmsg_len);
    }
    if (mnl_socket_sendto(socket.get(), buffer.data(), used) < 0)
      return tl::unexpected(unreachable_kernel(what, "send", errno));
    SLUICE_CHECK_OK(receive_refusals(what, socket.get(), datagram, refused));
  }
  return refused;
}

}  // namespace sluice::sys
