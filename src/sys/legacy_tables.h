// SPDX-License-Identifier: Apache-2.0
// Tables of ip_tables and ip6_tables, the kernel's side of iptables-legacy: what it reports without listing rules.
#pragma once

#include <string>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

// Whether the built-in chain at `hook` (NF_INET_PRE_ROUTING, ...) of a table has no rule. The cost does not depend on
// the table's size. A table that is not loaded gets loaded. In the calling thread's network namespace.
Result<bool> legacy_chain_empty(Family family, const std::string& table, unsigned hook);

}  // namespace sluice::sys
