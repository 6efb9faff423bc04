// SPDX-License-Identifier: Apache-2.0
// What the kernel reports about this process, for the process_* metrics that every Prometheus client exposes.
#pragma once

#include <optional>
#include <string>

namespace sluice::observe {

// Of the whole network namespace, as in every Prometheus client: the kernel counts bytes by namespace, not by process.
struct NetworkBytes {
  double received_bytes = 0;
  double sent_bytes = 0;
};

struct ProcessStats {
  double cpu_seconds = 0;
  double max_fds = 0;
  double open_fds = 0;
  double resident_bytes = 0;
  double virtual_bytes = 0;
  double virtual_bytes_max = 0;   // the limit; 2^64 - 1 if there is none
  double start_time_seconds = 0;  // since 1970
  std::optional<NetworkBytes> network{};
};

// From the text of /proc/net/netstat; nothing if its lines on IP are missing or have no byte counts.
std::optional<NetworkBytes> parse_netstat(const std::string& text);

// Nothing if /proc is not mounted.
std::optional<ProcessStats> read_process_stats();

}  // namespace sluice::observe
