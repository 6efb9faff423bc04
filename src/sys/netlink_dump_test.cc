// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink_dump.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice::sys {
namespace {

struct Row {
  const char* name;
  std::vector<DumpEnd> ends;  // what the attempts return, in order; the last one repeatedly
  int attempts_wanted;
};

TEST(RepeatDump, StopsAtTheFirstWholeDumpAndAfterFiveInterruptedOnes) {
  const std::vector<Row> rows{
      {"whole at once", {DumpEnd::kComplete}, 1},
      {"interrupted once", {DumpEnd::kInterrupted, DumpEnd::kComplete}, 2},
      {"whole at the third attempt", {DumpEnd::kInterrupted, DumpEnd::kInterrupted, DumpEnd::kComplete}, 3},
      {"never whole: the partial one is taken", {DumpEnd::kInterrupted}, 5},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    std::size_t attempts = 0;
    const auto result = repeat_dump([&]() -> Result<DumpEnd> {
      const std::size_t index = std::min(attempts, row.ends.size() - 1);
      ++attempts;
      return row.ends[index];
    });
    EXPECT_TRUE(result);
    EXPECT_EQ(attempts, static_cast<std::size_t>(row.attempts_wanted));
  }
}

TEST(RepeatDump, AnErrorEndsItAtOnce) {
  int attempts = 0;
  const auto result = repeat_dump([&]() -> Result<DumpEnd> {
    ++attempts;
    return fail(Errc::kPermission, "no");
  });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::kPermission);
  EXPECT_EQ(attempts, 1);
}

}  // namespace
}  // namespace sluice::sys
