// SPDX-License-Identifier: Apache-2.0
// How `sluice status` looks: text for people, JSON for programs.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "sync/status.h"

namespace sluice::daemon {

// What the daemon knows of itself beside the control loop's status.
struct DaemonFacts {
  std::string mode;     // "iptables"
  std::string flavour;  // "nft"
  std::string node_name;
  std::string source;  // "API server https://10.0.0.1:6443", "files in /etc/sluice/manifests"
  Clock::WallTime started;
};

struct StatusAnswer {
  int exit_status = 0;  // 0 = serving as wanted, 1 = not
  std::string text;
};

StatusAnswer status_text(const DaemonFacts& facts, const sync::LoopStatus& status,
                         const std::vector<sync::FamilyComparison>& comparisons, Clock::WallTime now);
StatusAnswer status_json(const DaemonFacts& facts, const sync::LoopStatus& status,
                         const std::vector<sync::FamilyComparison>& comparisons, Clock::WallTime now);

}  // namespace sluice::daemon
