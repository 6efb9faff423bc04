// SPDX-License-Identifier: Apache-2.0
// For tests: a faulty kernel in place of the real one, for the netlink conversations of the calling thread. It passes on
// what its functions let through.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <functional>
#include <optional>
#include <span>

#include <libmnl/libmnl.h>

#include "sys/netlink_calls.h"

namespace sluice::sys {

class NetlinkFaults {
 public:
  NetlinkFaults() {
    netlink_calls().send = [this](int descriptor, std::span<const char> datagram) -> ssize_t {
      ++sent;
      if (const auto error = on_send(datagram)) return refused(*error);
      return real_.send(descriptor, datagram);
    };
    netlink_calls().receive = [this](int descriptor, std::span<char> buffer, int flags) -> ssize_t {
      while (true) {
        if (const auto error = on_receive(is_batch(flags))) return refused(*error);
        const ssize_t length = real_.receive(descriptor, buffer, flags);
        if (length < 0 || on_reply(is_batch(flags), buffer.first(static_cast<std::size_t>(length)))) return length;
      }
    };
  }
  ~NetlinkFaults() { netlink_calls() = real_; }
  NetlinkFaults(const NetlinkFaults&) = delete;
  NetlinkFaults& operator=(const NetlinkFaults&) = delete;

  std::size_t sent = 0;
  // What send(2) and recv(2) return in place of the kernel's word: an errno.
  std::function<std::optional<int>(std::span<const char> datagram)> on_send = [](auto) { return std::nullopt; };
  std::function<std::optional<int>(bool batch)> on_receive = [](auto) { return std::nullopt; };
  // May change the replies in the buffer; false: they are lost.
  std::function<bool(bool batch, std::span<char> replies)> on_reply = [](auto, auto) { return true; };

  // Calls body(nlmsghdr&) for each.
  template <typename Body>
  static void for_each_message(std::span<char> replies, Body body) {
    auto length = static_cast<int>(replies.size());
    auto* message = reinterpret_cast<nlmsghdr*>(replies.data());
    for (; mnl_nlmsg_ok(message, length);) {
      body(*message);
      message = mnl_nlmsg_next(message, &length);
    }
  }

 private:
  // The replies to a batch are there at once, those to a dump are waited for.
  static bool is_batch(int flags) { return (flags & MSG_DONTWAIT) != 0; }
  static ssize_t refused(int error) {
    errno = error;
    return -1;
  }
  NetlinkCalls real_ = netlink_calls();
};

}  // namespace sluice::sys
