// SPDX-License-Identifier: Apache-2.0
// Whether this kernel has what our rules, maps and sets are made of.
#pragma once

#include "base/ip.h"
#include "base/result.h"

namespace sluice::dataplane::nftables {

// Has the kernel try a table with one of each kind, and undo it. kUnsupported names what it refuses. kUnavailable: it had no
// memory, or its reply was lost, so nothing is known.
Result<> probe_kernel(Family family);

}  // namespace sluice::dataplane::nftables
