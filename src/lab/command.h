// SPDX-License-Identifier: Apache-2.0
// `sluice lab ...`, as a function.
#pragma once

#include <string>
#include <vector>

namespace sluice::lab {

// The arguments after `lab`. Answers the exit status: 0 fine, 1 it failed (or an expectation of the walkthrough did), 2
// bad usage.
int run_command(const std::vector<std::string>& arguments);

}  // namespace sluice::lab
