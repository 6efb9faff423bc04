// SPDX-License-Identifier: Apache-2.0
// The daemon's command lines. Each takes the arguments after its own name and returns the program's exit status.
#pragma once

#include <string>
#include <vector>

namespace sluice::daemon {

// `sluice proxy`: kube-proxy's flags. Runs until SIGTERM or SIGINT (0), or until it cannot continue (1).
int run_proxy(const std::vector<std::string>& arguments);
// `sluice status`: queries the daemon of this network namespace. 0 = serving as wanted, 1 = not, 2 = no daemon or bad
// arguments.
int run_status(const std::vector<std::string>& arguments);
// `sluice diff`: queries it for the difference between the kernel's state and what is wanted. 0 = none, 1 = there is one, 2 = it
// cannot be compared, no daemon or bad arguments.
int run_diff(const std::vector<std::string>& arguments);
// `sluice cleanup`: 0 = nothing of ours or kube-proxy's is left.
int run_cleanup(const std::vector<std::string>& arguments);

}  // namespace sluice::daemon
