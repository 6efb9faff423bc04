// SPDX-License-Identifier: Apache-2.0
// Tables of ip_tables and ip6_tables, the kernel's side of iptables-legacy: what it tells without listing their rules.
#pragma once

#include <string>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

// Does the built-in chain at `hook` (NF_INET_PRE_ROUTING, ...) of a table hold no rule? Costs the same whatever the
// table's size. Asking for a table that is not loaded loads it. Of the calling thread's network namespace.
Result<bool> legacy_chain_empty(Family family, const std::string& table, unsigned hook);

}  // namespace sluice::sys
