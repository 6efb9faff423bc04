// SPDX-License-Identifier: Apache-2.0
// What `sluice status` shows of the control loop. Plain values: whoever prints them decides how.
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
  std::size_t changes_waiting = 0;  // Service ports that differ from what was programmed last
  std::size_t service_ports = 0;    // programmed
  std::size_t real_servers = 0;     // programmed
};

struct ServedFrontend {
  plan::FrontendKind kind = plan::FrontendKind::kClusterIp;
  std::string address;  // "10.96.0.10:53"; for a node port "*:30053"
};

// One Service port as the kernel forwards it.
struct ServedPort {
  std::string name;  // "kube-system/dns:dns"
  Protocol protocol = Protocol::kTcp;
  Family family = Family::kIPv4;
  std::vector<ServedFrontend> frontends;
  std::vector<plan::RealServer> real_servers;  // each with its pools
  bool internal_local = false;
  bool external_local = false;
};
ServedPort describe(const plan::ServicePortPlan& port);

struct LoopStatus {
  bool lists_complete = false;  // both first lists were received
  std::size_t services = 0;     // known, served or not
  std::size_t slices = 0;
  bool node_known = false;
  std::string zone;
  std::vector<FamilyStatus> families;
  std::vector<ServedPort> served;  // in order of family, then name
};

struct FamilyComparison {
  Family family = Family::kIPv4;
  Result<dataplane::Difference> difference;
};

}  // namespace sluice::sync
