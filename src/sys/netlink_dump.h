// SPDX-License-Identifier: Apache-2.0
// A whole table read from the kernel by one netlink dump. Shared by the files of this room that list something.
#pragma once

#include <functional>

#include "base/result.h"

struct nlmsghdr;

namespace sluice::sys {

// Receives the replies. `restart` is called before each attempt: what an earlier attempt collected must be
// dropped.
struct DumpReader {
  std::function<void()> restart;
  std::function<void(const nlmsghdr&)> answer;
};

// Sends `request`, a complete message with NLM_F_DUMP, to the netlink protocol `bus` (NETLINK_ROUTE, ...) and hands
// each reply to the reader. A dump during which the table changed is repeated, see repeat_dump(). Blocks for at most
// 10 s per reply.
Result<> dump_netlink(int bus, nlmsghdr& request, const DumpReader& reader);

enum class DumpEnd : unsigned char { kComplete, kInterrupted };
inline constexpr int kDumpAttemptsMax = 5;

// Calls `attempt` until it returns kComplete or fails, at most kDumpAttemptsMax times. For a table that changes all the
// time a partial list is better than none: the last interrupted attempt counts. One that lost replies (ENOBUFS) does not.
Result<> repeat_dump(const std::function<Result<DumpEnd>()>& attempt);

}  // namespace sluice::sys
