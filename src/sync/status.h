// SPDX-License-Identifier: Apache-2.0
// What the control loop reports about its work, as plain values; room view turns them into output for users.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ip.h"
#include "base/result.h"
#include "dataplane/dataplane.h"
#include "plan/plan.h"

namespace sluice::sync {

// A Service port that the kernel does not accept, or not wholly.
struct RefusedPortStatus {
  plan::ServicePortKey port;
  std::string reason;
  Clock::WallTime since{};
  std::size_t attempts = 0;
};

// The stage of a data plane (succession.h). Before it is programmed it is absent, after its last connection it is gone,
// and neither is shown.
enum class Stage : std::uint8_t { kProgramming, kServing, kRetiring };
inline std::string_view to_string(Stage stage) {
  return stage == Stage::kProgramming ? "programming" : stage == Stage::kServing ? "serving" : "retiring";
}

struct PlaneStage {
  std::string name;  // "iptables"
  Stage stage = Stage::kProgramming;
  friend bool operator==(const PlaneStage&, const PlaneStage&) = default;
};

struct FamilyStatus {
  Family family = Family::kIPv4;
  std::string data_plane;                    // "iptables"
  bool synced = false;                       // the kernel has been programmed by this process at least once
  std::optional<Clock::WallTime> last_sync;  // the last one that succeeded
  std::optional<Clock::WallTime> last_attempt;
  std::string last_error;  // why the last attempt failed; empty if it succeeded
  double last_duration_seconds = 0;
  std::size_t full_syncs = 0;
  std::size_t partial_syncs = 0;
  std::size_t failed_syncs = 0;
  std::size_t drift_repairs = 0;
  std::size_t changes_waiting = 0;           // Service ports that differ from what was programmed last
  std::size_t service_ports = 0;             // programmed
  std::size_t real_servers = 0;              // programmed
  std::vector<dataplane::Refusal> refusals;  // addresses that the plan or the data plane refuses a Service, in order
  std::vector<RefusedPortStatus> refused_ports;         // in order of their keys
  std::vector<dataplane::UnmetRequest> unmet_requests;  // in order
  std::optional<dataplane::KernelWork> kernel_work;     // as of the last sync or check
  std::vector<std::string> unremoved;  // objects that the kernel does not release, each with its reason
  dataplane::Capabilities capabilities;
  std::vector<PlaneStage> planes;  // the serving one first, then its successor, then the retiring ones
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
