// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink_calls.h"

#include <sys/socket.h>

// The kernel's headers yield to libc's where these come first.
#include <linux/netlink.h>

#include <cerrno>

namespace sluice::sys {
namespace {

ssize_t send_to_kernel(int descriptor, std::span<const char> datagram) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  return ::sendto(descriptor, datagram.data(), datagram.size(), 0, reinterpret_cast<const sockaddr*>(&kernel),
                  sizeof kernel);
}

ssize_t receive_from_kernel(int descriptor, std::span<char> buffer, int flags) {
  const ssize_t length = ::recv(descriptor, buffer.data(), buffer.size(), flags | MSG_TRUNC);
  if (length <= static_cast<ssize_t>(buffer.size())) return length;
  errno = ENOSPC;
  return -1;
}

}  // namespace

NetlinkCalls real_netlink_calls() {
  return {send_to_kernel, receive_from_kernel};
}

NetlinkCalls& netlink_calls() {
  thread_local NetlinkCalls calls = real_netlink_calls();
  return calls;
}

}  // namespace sluice::sys
