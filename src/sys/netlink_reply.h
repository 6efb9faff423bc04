// SPDX-License-Identifier: Apache-2.0
// What replies of every netlink protocol have in common. Only for this room.
#pragma once

#include <libmnl/libmnl.h>

#include <cstddef>
#include <cstring>

namespace sluice::sys {

// For receiving: the kernel makes the pieces of a dump as large as the largest buffer that the socket ever offered, up
// to 32 KiB (netlink_dump()).
inline constexpr std::size_t kReplyBufferSize = 64 * 1024;

inline bool is_end(const nlmsghdr& message) {
  return message.nlmsg_type == NLMSG_ERROR || message.nlmsg_type == NLMSG_DONE;
}

// Of a message that is_end(): NLMSG_ERROR, and NLMSG_DONE from kernels that fail in the middle of a dump, carry a
// negative errno first. 0 where all went well.
inline int carried_error(const nlmsghdr& message) {
  if (mnl_nlmsg_get_payload_len(&message) < sizeof(int)) return 0;
  int negative = 0;
  std::memcpy(&negative, mnl_nlmsg_get_payload(&message), sizeof negative);
  return -negative;
}

}  // namespace sluice::sys
