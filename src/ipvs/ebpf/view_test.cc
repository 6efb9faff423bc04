// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

namespace sluice::ipvs::ebpf {
namespace {

sluice_view head_of(const std::vector<sluice_line>& lines) {
  sluice_view view{};
  std::memcpy(&view, lines.data(), sizeof view);
  return view;
}

std::map<std::uint32_t, int> shares(const std::vector<sluice_line>& lines, std::uint32_t first, std::uint32_t slots) {
  std::map<std::uint32_t, int> count;
  const sluice_view view = head_of(lines);
  for (std::uint32_t slot = 0; slot < slots; ++slot)
    ++count[lines[view.slots - first + slot / SLUICE_LINE_WORDS].word[slot % SLUICE_LINE_WORDS]];
  return count;
}

// 10.2.0.1 to .3, weights 3, 2, 1, added in this order: the newest first.
const std::vector<ViewMember> kWorked{
    {3, 1, 1, 0x0a020003, 8080}, {2, 2, 2, 0x0a020002, 8080}, {1, 3, 3, 0x0a020001, 8080}};

TEST(View, SchedulersHaveNamesBothWays) {
  for (const char* name :
       {"none", "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos"}) {
    const auto number = scheduler_number(name);
    ASSERT_TRUE(number) << name;
    EXPECT_EQ(scheduler_name(*number), name);
  }
  EXPECT_FALSE(scheduler_number("nonesuch"));
  EXPECT_FALSE(scheduler_number(""));
  EXPECT_TRUE(scheduler_name(99).empty());
}

TEST(View, TakesAsManyLinesAsItSays) {
  for (std::uint32_t scheduler = 0; scheduler <= SLUICE_SCHED_TWOS; ++scheduler) {
    for (const std::size_t count : {0U, 1U, 16U, 17U, 300U}) {
      std::vector<ViewMember> members(count);
      for (std::size_t i = 0; i < count; ++i)
        members[i] = {static_cast<std::uint32_t>(i + 1), 1, 1, static_cast<std::uint32_t>(i), 80};
      const auto lines = build_view({scheduler, 0, members}, 5);
      EXPECT_EQ(lines.size(), view_lines(scheduler, count)) << scheduler << " " << count;
      EXPECT_EQ(head_of(lines).lines, lines.size());
      EXPECT_EQ(head_of(lines).count, count);
    }
  }
}

TEST(View, SharesOfTheHashTablesAreTheKernels) {
  EXPECT_EQ(shares(build_view({SLUICE_SCHED_SH, 0, kWorked}, 1), 1, SLUICE_SH_SLOTS),
            (std::map<std::uint32_t, int>{{1, 127}, {2, 86}, {3, 43}}));
  EXPECT_EQ(shares(build_view({SLUICE_SCHED_DH, 0, kWorked}, 1), 1, SLUICE_SH_SLOTS),
            (std::map<std::uint32_t, int>{{1, 85}, {2, 85}, {3, 86}}));
  EXPECT_EQ(shares(build_view({SLUICE_SCHED_MH, 0, kWorked}, 1), 1, SLUICE_MH_SLOTS),
            (std::map<std::uint32_t, int>{{1, 2046}, {2, 1364}, {3, 683}}));
}

TEST(View, TheFirstSlotsOfMaglevAreTheKernels) {
  const auto lines = build_view({SLUICE_SCHED_MH, 0, kWorked}, 9);
  const sluice_line& first = lines[head_of(lines).slots - 9];
  EXPECT_EQ((std::vector<std::uint32_t>(first.word, first.word + 10)),
            (std::vector<std::uint32_t>{3, 2, 1, 1, 2, 1, 1, 2, 1, 1}));
}

TEST(View, MaglevKeepsTheSlotsOfADrainedRealServer) {
  std::vector<ViewMember> members = kWorked;
  members[1].weight = 0;
  EXPECT_EQ(shares(build_view({SLUICE_SCHED_MH, 0, members}, 1), 1, SLUICE_MH_SLOTS).at(2), 1364);
  for (ViewMember& member : members) member.last_weight = 0;
  EXPECT_EQ(head_of(build_view({SLUICE_SCHED_MH, 0, members}, 1)).slots, 0U) << "no weight ever: no table";
}

TEST(View, AnEmptyViewHasNoTables) {
  for (const std::uint32_t scheduler :
       {SLUICE_SCHED_RR, SLUICE_SCHED_WRR, SLUICE_SCHED_SH, SLUICE_SCHED_DH, SLUICE_SCHED_MH}) {
    const sluice_view view = head_of(build_view({scheduler, 0, {}}, 1));
    EXPECT_EQ(view.slots, 0U);
    EXPECT_EQ(view.tree[0], 0U);
    EXPECT_EQ(view.top, 0U);
  }
}

TEST(View, LevelsOfWrr) {
  const std::vector<ViewMember> members{{1, 8, 8, 0, 0}, {2, 4, 4, 0, 0}, {3, 12, 12, 0, 0}, {4, 0, 0, 0, 0}};
  const sluice_view view = head_of(build_view({SLUICE_SCHED_WRR, 0, members}, 1));
  EXPECT_EQ(view.step, 4U);
  EXPECT_EQ(view.top, 9U);
}

// The generation and the level stand beside the place in one word, and neither spills.
TEST(View, ACursorHoldsItsThreeParts) {
  const std::uint64_t cursor = sluice_cursor_word(SLUICE_REALS_MAX, 0x7fffffff, 0xffff);
  EXPECT_EQ(sluice_cursor_start(cursor), SLUICE_REALS_MAX);
  EXPECT_EQ(sluice_cursor_level(cursor), 0x7fffffffU);
  EXPECT_EQ(sluice_cursor_generation(cursor), 0xffffU);
  EXPECT_EQ(sluice_cursor_generation(sluice_cursor_moved(cursor, 0, 0)), 0xffffU);
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
