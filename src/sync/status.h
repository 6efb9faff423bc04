// SPDX-License-Identifier: Apache-2.0
// What the control loop knows of its work, as plain values; room view makes of them what people read.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ip.h"
#include "base/result.h"
#include "dataplane/dataplane.h"
#include "plan/plan.h"

namespace sluice::sync {

struct FamilyStatus {
  Family family = Family::kIPv4;
  std::string data_plane;                    // "iptables"
  bool synced = false;                       // the kernel has been programmed by this process at least once
  std::optional<Clock::WallTime> last_sync;  // the last one that succeeded
  std::optional<Clock::WallTime> last_attempt;
  std::string last_error;  // why the last attempt failed; empty where it succeeded
  double last_duration_seconds = 0;
  std::size_t full_syncs = 0;
  std::size_t partial_syncs = 0;
  std::size_t failed_syncs = 0;
  std::size_t drift_repairs = 0;
  std::size_t changes_waiting = 0;           // Service ports that differ from what was programmed last
  std::size_t service_ports = 0;             // programmed
  std::size_t real_servers = 0;              // programmed
  std::vector<dataplane::Refusal> refusals;  // addresses of Services that the data plane declines to serve, in order
};

struct LoopStatus {
  bool lists_complete = false;  // both first lists were received
  std::size_t services = 0;     // known, served or not
  std::size_t slices = 0;
  bool node_known = false;
  std::string zone;
  std::vector<FamilyStatus> families;
  std::vector<plan::ServicePortPlanPtr> served;  // as the kernel forwards, in order of family, then key
};

struct FamilyComparison {
  Family family = Family::kIPv4;
  Result<dataplane::Difference> difference;
};

}  // namespace sluice::sync
