// SPDX-License-Identifier: Apache-2.0
// For tests only: where the source tree is. One translation unit (test/test_main.cc) knows the folder, so that the
// compiler cache hits for all others in any clone.
#pragma once

#include <string>

namespace sluice {

// The path of a file of the source tree, given from its root: "test/golden/ipvs/netlink.txt".
std::string source_path(const std::string& file);

}  // namespace sluice
