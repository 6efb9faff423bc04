// SPDX-License-Identifier: Apache-2.0
// The two system calls of a netlink conversation. A test may put something between them and the kernel: a full buffer, a
// signal, a reply that is lost.
#pragma once

#include <sys/types.h>

#include <functional>
#include <span>

namespace sluice::sys {

// Both return what send(2) and recv(2) return, with errno. A datagram that is longer than the buffer is ENOSPC.
struct NetlinkCalls {
  std::function<ssize_t(int descriptor, std::span<const char> datagram)> send;
  std::function<ssize_t(int descriptor, std::span<char> buffer, int flags)> receive;
};
NetlinkCalls real_netlink_calls();
// Of the calling thread: real_netlink_calls(), until a test assigns others.
NetlinkCalls& netlink_calls();

}  // namespace sluice::sys
