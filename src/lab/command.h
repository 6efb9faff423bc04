// SPDX-License-Identifier: Apache-2.0
// `sluice lab ...`, as a function.
#pragma once

#include <string>
#include <vector>

namespace sluice::lab {

// Takes the arguments after `lab`. Returns the exit status:
//   0  it was done
//   1  it failed, or an expectation of the walkthrough did
//   2  bad usage
int run_command(const std::vector<std::string>& arguments);

}  // namespace sluice::lab
