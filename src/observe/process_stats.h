// SPDX-License-Identifier: Apache-2.0
// What the kernel knows of this process, for the process_* metrics that every Prometheus client exposes.
#pragma once

#include <optional>

namespace sluice::observe {

struct ProcessStats {
  double cpu_seconds = 0;
  double max_fds = 0;
  double open_fds = 0;
  double resident_bytes = 0;
  double virtual_bytes = 0;
  double start_time_seconds = 0;  // since 1970
};

// Nothing where /proc is not mounted.
std::optional<ProcessStats> read_process_stats();

}  // namespace sluice::observe
