// SPDX-License-Identifier: Apache-2.0
// Where this network namespace sends what it has no other route for, by rtnetlink (RTM_GETROUTE).
#pragma once

#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

// The gateways of the main table's default routes, sorted, each once. A default route without a gateway has none to
// tell.
Result<std::vector<IpAddress>> list_default_gateways(Family family);

}  // namespace sluice::sys
