// SPDX-License-Identifier: Apache-2.0
// What a lab consists of and its state, as rows of a table (screen.h).
#pragma once

#include <string>
#include <vector>

#include "lab/lab.h"

namespace sluice::lab {

using Rows = std::vector<std::vector<std::string>>;
Rows host_rows(const Topology& topology);
Rows process_rows(const Lab& lab);

}  // namespace sluice::lab
