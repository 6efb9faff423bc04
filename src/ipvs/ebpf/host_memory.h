// SPDX-License-Identifier: Apache-2.0
// What bpf/shared/schedule.h requires of its includer, for this process: the maps are the vectors that the calling
// thread points to. In the kernel the same names are map lookups and bpf_loop() (bpf/lib).
#pragma once

#include <span>

#include "bpf/shared/view.h"

namespace sluice::ipvs::ebpf {

struct HostMemory {
  std::span<const sluice_line> lines;
  std::span<sluice_cell> cells;
};

inline thread_local HostMemory host_memory;

}  // namespace sluice::ipvs::ebpf

inline const sluice_line* sluice_line_at(__u32 line) {
  const auto lines = sluice::ipvs::ebpf::host_memory.lines;
  return line < lines.size() ? &lines[line] : nullptr;
}

inline sluice_cell* sluice_cell_at(__u32 id) {
  const auto cells = sluice::ipvs::ebpf::host_memory.cells;
  return id < cells.size() ? &cells[id] : nullptr;
}

inline __u32 sluice_zero() {
  return 0;
}

inline long sluice_loop(__u32 rounds, long (*step)(__u32 round, void* context), void* context) {
  for (__u32 round = 0; round < rounds; ++round) {
    if (step(round, context) != 0) return round + 1;
  }
  return rounds;
}
