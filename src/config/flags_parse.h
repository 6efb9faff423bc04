// SPDX-License-Identifier: Apache-2.0
// Splits a command line into flags by the rules of Go's pflag. Private to flags*.cc.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/flags_table.h"

namespace sluice::config {

// --name=value, --name value, --name (booleans), -v=2, -v 2, -v2, -h; "_" in names is "-"; "--" ends the flags.
// Errors have pflag's texts. Stops at --help, as nothing after it matters.
Result<Flags> parse_flags(const std::vector<std::string>& arguments);

}  // namespace sluice::config
