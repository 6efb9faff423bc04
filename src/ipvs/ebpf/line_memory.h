// SPDX-License-Identifier: Apache-2.0
// Which lines are free: views are built in blocks of 2^n lines, each at a multiple of its size. Pure; it is built anew from the
// blocks that are in use whenever another process may have changed them, so a crash loses nothing.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace sluice::ipvs::ebpf {

struct LineBlock {
  std::uint32_t first = 0;
  std::uint32_t lines = 0;  // as many as are used; the block is the next power of two
};

class LineMemory {
 public:
  LineMemory() = default;
  // All lines from 1 to `end` that are in none of these blocks are free.
  LineMemory(std::vector<LineBlock> used, std::uint32_t end);
  // A block for that many lines: one that is free, or new lines at the end.
  std::uint32_t take(std::uint32_t lines);
  void give_back(const LineBlock& block);
  [[nodiscard]] std::uint32_t end() const { return end_; }

 private:
  void add_free(std::uint32_t first, std::uint32_t end);
  std::array<std::vector<std::uint32_t>, 32> free_;
  std::uint32_t end_ = 1;
};

}  // namespace sluice::ipvs::ebpf
