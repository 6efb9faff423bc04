// SPDX-License-Identifier: Apache-2.0
// This node's own addresses, with which the configuration and the API server's Node are compared.
#pragma once

#include <vector>

#include "base/ip.h"

namespace sluice::daemon {

// Those that mode ipvs binds for Services are left out: they are added and removed with the Services, and within
// nodePortAddresses each would look like a change of the node, which costs a full sync. Empty, with an error in the log,
// if they cannot be listed.
std::vector<IpAddress> local_addresses();

}  // namespace sluice::daemon
