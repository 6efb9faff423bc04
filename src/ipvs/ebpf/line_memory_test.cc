// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/line_memory.h"

#include <gtest/gtest.h>

#include <bit>
#include <map>
#include <random>

namespace sluice::ipvs::ebpf {
namespace {

TEST(LineMemory, ABlockBeginsAtAMultipleOfItsSizeAndLineZeroIsNobodys) {
  LineMemory memory;
  EXPECT_EQ(memory.take(1), 1U);
  EXPECT_EQ(memory.take(3), 4U);
  EXPECT_EQ(memory.take(2), 2U) << "what was left before the block of four";
  EXPECT_EQ(memory.take(1), 8U);
  EXPECT_EQ(memory.end(), 9U);
}

TEST(LineMemory, WhatIsGivenBackIsTakenAgainAlsoInParts) {
  LineMemory memory;
  const std::uint32_t large = memory.take(16);
  const std::uint32_t end = memory.end();
  memory.give_back({large, 16});
  for (int i = 0; i < 4; ++i) memory.take(4);
  EXPECT_EQ(memory.end(), end);
}

TEST(LineMemory, BlocksNeverOverlapAndAnIndexFromWhatIsUsedKnowsTheSame) {
  std::mt19937 random(1);
  LineMemory memory;
  std::map<std::uint32_t, std::uint32_t> used;  // first line, lines
  for (int round = 0; round < 20000; ++round) {
    if (random() % 2 == 0 || used.empty()) {
      const auto lines = static_cast<std::uint32_t>(1 + random() % 300);
      const std::uint32_t first = memory.take(lines);
      const std::uint32_t size = std::bit_ceil(lines);
      ASSERT_NE(first, 0U);
      const auto next = used.lower_bound(first);
      if (next != used.end()) {
        ASSERT_LE(first + size, next->first);
      }
      if (next != used.begin()) {
        ASSERT_LE(std::prev(next)->first + std::bit_ceil(std::prev(next)->second), first);
      }
      ASSERT_LE(first + size, memory.end());
      used[first] = lines;
    } else {
      const auto gone = std::next(used.begin(), static_cast<std::ptrdiff_t>(random() % used.size()));
      memory.give_back({gone->first, gone->second});
      used.erase(gone);
    }
    if (round % 1000 == 0) {
      std::vector<LineBlock> blocks;
      for (const auto& [first, lines] : used) blocks.push_back({first, lines});
      memory = LineMemory(blocks, memory.end());
    }
  }
  EXPECT_LT(memory.end(), 1U << 20) << "what is free is used";
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
