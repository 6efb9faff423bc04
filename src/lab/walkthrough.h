// SPDX-License-Identifier: Apache-2.0
// The guided tour through a cluster with Sluice on its nodes: what an operator does and sees, with real traffic, each
// claim checked.
#pragma once

#include <string>

#include "base/result.h"
#include "lab/lab.h"
#include "lab/screen.h"

namespace sluice::lab {

struct WalkthroughOptions {
  std::string id;          // empty = "walkthrough", or with a number if that is taken
  std::string program;     // run as `PROGRAM proxy ...` on the nodes; empty = this program
  bool keep = false;       // leave the lab running at the end
  bool only_ipvs = false;  // only the steps about mode ipvs
};
// Returns the exit status: 0 if every expectation held and, unless kept, nothing is left of the lab.
int run_walkthrough(const WalkthroughOptions& options);

// What the steps share. A step checks its expectations through `screen`; an Error means that continuing makes no sense.
struct Walkthrough {
  Lab& lab;
  Screen& screen;
  std::string program;
  std::string manifests;  // folder that every proxy watches
  std::string engine{};   // of mode ipvs: "kernel", "ebpf"; empty: this machine can run neither
};
struct WalkthroughStep {
  std::string_view title;
  Result<> (*run)(Walkthrough& walkthrough);
};

// The steps of mode iptables, in walkthrough_steps.cc.
Result<> show_default_mode(Walkthrough& walkthrough);
Result<> show_traffic(Walkthrough& walkthrough);
Result<> show_live_change(Walkthrough& walkthrough);
Result<> show_crash(Walkthrough& walkthrough);

// The steps of mode nftables, in walkthrough_nftables.cc.
Result<> show_switch_to_nftables(Walkthrough& walkthrough);
Result<> show_nftables_traffic(Walkthrough& walkthrough);
Result<> show_way_back_from_nftables(Walkthrough& walkthrough);

// The steps of mode ipvs, in walkthrough_ipvs.cc. The engine is the one that `auto` takes on the nodes.
Result<std::string> engine_of_nodes(const Walkthrough& walkthrough);
Result<> show_switch_to_ipvs(Walkthrough& walkthrough);
Result<> show_ipvsadm(Walkthrough& walkthrough);
Result<> show_ipvs_traffic(Walkthrough& walkthrough);
Result<> show_way_back(Walkthrough& walkthrough);

}  // namespace sluice::lab
