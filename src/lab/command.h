// SPDX-License-Identifier: Apache-2.0
// `sluice lab ...`, as a function.
#pragma once

#include <string>
#include <vector>

namespace sluice::lab {

// Takes the arguments after `lab`. Returns the exit status:
//   0  success
//   1  failure, or an unmet expectation of the walkthrough
//   2  bad usage
int run_command(const std::vector<std::string>& arguments);

}  // namespace sluice::lab
