// SPDX-License-Identifier: Apache-2.0
// Many requests to the kernel in few datagrams. Shared by the files of this room that change thousands of objects at once.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/result.h"

struct nlmsghdr;

namespace sluice::sys {

// A request that the kernel has refused.
struct BatchRefusal {
  std::size_t index = 0;
  int error = 0;  // errno
};

inline constexpr std::size_t kBatchRequestSizeMax = 128;

// Writes request `index` at `at`, where kBatchRequestSizeMax bytes are free, and returns its header. Its sequence number and the flag
// NLM_F_ACK are the batch's own.
using WriteRequest = std::function<nlmsghdr*(char* at, std::size_t index)>;

// Sends `count` requests by NETLINK_ROUTE, in order, even if earlier ones are refused, and returns the refused ones, in order. An Error means that the
// kernel could not be reached, with `what` in it; a part of the batch may be done then.
Result<std::vector<BatchRefusal>> send_batch(const char* what, std::size_t count, const WriteRequest& write);

}  // namespace sluice::sys
