// SPDX-License-Identifier: Apache-2.0
// The routers through which this network namespace reaches other networks, by rtnetlink (RTM_GETROUTE).
#pragma once

#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

// The gateways of all routes, sorted, each once: those of the default routes, and those to other nodes' pods. Routes
// without a gateway add none.
Result<std::vector<IpAddress>> list_gateways(Family family);

}  // namespace sluice::sys
