// SPDX-License-Identifier: Apache-2.0
// The order in which ipvsadm lists.
#pragma once

#include <vector>

#include "ipvs/engine.h"

namespace sluice::ipvs::text {

void sort_virtual_servers(std::vector<VirtualServerState>& servers);
void sort_real_servers(std::vector<RealServerState>& servers);

}  // namespace sluice::ipvs::text
