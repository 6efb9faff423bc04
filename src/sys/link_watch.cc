// SPDX-License-Identifier: Apache-2.0
#include "sys/link_watch.h"

#include <fmt/format.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sluice::sys {
namespace {

Error watch_error(const char* doing, int error) {
  return Error{error == EPERM ? Errc::kPermission : Errc::kInternal,
               fmt::format("watch links: {}: {}", doing, std::strerror(error)), error};
}

}  // namespace

Result<LinkWatch> LinkWatch::open() {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!fd) return tl::unexpected(watch_error("open a socket", errno));
  sockaddr_nl groups{};
  groups.nl_family = AF_NETLINK;
  groups.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&groups), sizeof groups) != 0)
    return tl::unexpected(watch_error("bind the socket", errno));
  return LinkWatch(std::move(fd));
}

Result<bool> LinkWatch::take_changes() {
  // What is in a notification does not matter, so the rest of a longer one may be cut off.
  std::array<char, 64> begin{};
  bool changed = false;
  while (true) {
    if (::recv(fd_.get(), begin.data(), begin.size(), 0) >= 0 || errno == ENOBUFS) {
      changed = true;
    } else if (errno == EAGAIN) {
      return changed;
    } else if (errno != EINTR) {
      return tl::unexpected(watch_error("receive", errno));
    }
  }
}

}  // namespace sluice::sys
