// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/line_memory.h"

#include <algorithm>
#include <bit>

namespace sluice::ipvs::ebpf {
namespace {

std::uint32_t block_size(std::uint32_t lines) {
  return std::bit_ceil(std::max(lines, 1U));
}

}  // namespace

LineMemory::LineMemory(std::vector<LineBlock> used, std::uint32_t end) {
  std::sort(used.begin(), used.end(), [](const LineBlock& a, const LineBlock& b) { return a.first < b.first; });
  std::uint32_t at = 1;
  for (const LineBlock& block : used) {
    if (block.first > at) add_free(at, block.first);
    at = std::max(at, block.first + block_size(block.lines));
  }
  if (end > at) add_free(at, end);
  end_ = std::max(at, end);
}

// The largest blocks that begin at a multiple of their size.
void LineMemory::add_free(std::uint32_t first, std::uint32_t end) {
  while (first < end) {
    const int aligned = std::countr_zero(first);
    const int fits = std::bit_width(end - first) - 1;
    const auto size = static_cast<std::size_t>(std::min(aligned, fits));
    free_[size].push_back(first);
    first += 1U << size;
  }
}

std::uint32_t LineMemory::take(std::uint32_t lines) {
  const std::uint32_t size = block_size(lines);
  for (auto n = static_cast<std::size_t>(std::countr_zero(size)); n < free_.size(); ++n) {
    if (free_[n].empty()) continue;
    const std::uint32_t first = free_[n].back();
    free_[n].pop_back();
    add_free(first + size, first + (1U << n));
    return first;
  }
  const std::uint32_t first = (end_ + size - 1) / size * size;
  add_free(end_, first);
  end_ = first + size;
  return first;
}

void LineMemory::give_back(const LineBlock& block) {
  add_free(block.first, block.first + block_size(block.lines));
}

}  // namespace sluice::ipvs::ebpf
