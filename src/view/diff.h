// SPDX-License-Identifier: Apache-2.0
// What `sluice diff` shows: what is live in the kernel against what is wanted, object by object, each list complete.
#pragma once

#include <string>
#include <vector>

#include "view/status.h"

namespace sluice::view {

// A line for each object, after "-" where it is wanted and not live, after "+" where it is live and not wanted, below a
// line for each family. Where live equals wanted everywhere: one line that says so.
std::string diff_text(const std::vector<FamilyView>& families);
// One object, one line. Reference: sluice(8).
std::string diff_json(const std::vector<FamilyView>& families);
// 0: live equals wanted, 1: it differs somewhere, 2: a family could not be compared, whatever the others are.
int diff_exit_status(const std::vector<FamilyView>& families);

}  // namespace sluice::view
