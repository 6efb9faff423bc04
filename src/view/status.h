// SPDX-License-Identifier: Apache-2.0
// What a node's proxy reports about itself, as plain values: what it is, what it waits for, what it serves, and how
// that compares with what is live in the kernel. The socket, the terminal and a page show the same values;
// status_json.h is their one form for programs, status_text.h the one for users.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "sync/status.h"
#include "view/served.h"

namespace sluice::view {

// The process, as determined by its command line and its node.
struct ProcessFacts {
  int pid = 0;
  std::string mode;     // "iptables"
  std::string flavour;  // "nft"; empty until a data plane was opened
  std::string node_name;
  std::string source;  // "API server https://10.0.0.1:6443", "files in /etc/sluice/manifests"
  Clock::WallTime started;
};

// Something that the proxy waits for before it can work fully.
struct Wait {
  std::string what;  // "Node \"k8s-node9\"", "the folder /etc/sluice/manifests"
  std::string why;   // "the API server does not know it; it knows k8s-node1"
  Clock::WallTime since;
};

struct FamilyView {
  sync::FamilyStatus status;
  bool compared = false;             // `difference` was requested and is set
  dataplane::Difference difference;  // live against wanted
  std::string compare_error;         // why there is none; empty if none was requested
};

struct Status {
  ProcessFacts process;
  std::vector<Wait> waits;  // oldest first
  bool started = false;     // the control loop runs: the rest is filled in
  bool lists_complete = false;
  std::size_t services = 0;
  std::size_t slices = 0;
  std::string zone;
  std::vector<FamilyView> families;
  std::vector<ServedPort> served;  // in order of family, then name
};

// For a proxy whose control loop does not run yet.
Status starting_status(ProcessFacts process, std::vector<Wait> waits);
Status make_status(ProcessFacts process, std::vector<Wait> waits, const sync::LoopStatus& loop,
                   const std::vector<sync::FamilyComparison>& comparisons);

// Every family is programmed, without an error, and live equals wanted. A waiting proxy may also serve as
// wanted, for example while its API server is unreachable.
[[nodiscard]] bool serves_as_wanted(const FamilyView& family);
[[nodiscard]] bool serves_as_wanted(const Status& status);

}  // namespace sluice::view
