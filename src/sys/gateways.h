// SPDX-License-Identifier: Apache-2.0
// Through whom this network namespace reaches what is not its neighbour, by rtnetlink (RTM_GETROUTE).
#pragma once

#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

// The gateways of all routes, sorted, each once: those of the default routes, and those to other nodes' pods. Routes
// without a gateway have none to tell.
Result<std::vector<IpAddress>> list_gateways(Family family);

}  // namespace sluice::sys
