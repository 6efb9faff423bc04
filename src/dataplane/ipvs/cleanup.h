// SPDX-License-Identifier: Apache-2.0
// Taking away what mode ipvs left in this network namespace, ours or the real kube-proxy's, and nothing else.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "dataplane/ipvs/helper_table.h"
#include "dataplane/ipvs/service_device.h"
#include "ipvs/engine.h"

namespace sluice::dataplane::ipvs {

struct Cleaned {
  std::vector<std::string> removed;   // in words: "12 virtual servers"
  std::vector<std::string> problems;  // what could not be removed, and why
};

// `engine` is null where there is no IPVS to clean. `state_folder` is that of the data plane's Options. To be called
// before the IP sets of kube-proxy are destroyed: they tell which node ports were its own. Goes on after a failure.
Cleaned cleanup_ipvs(sluice::ipvs::Engine* engine, const std::string& state_folder);

// The virtual servers to remove, worked out from what is there. Pure, for the tests.
std::vector<sluice::ipvs::VirtualServerKey> owned_virtual_servers(
    const std::vector<sluice::ipvs::VirtualServerKey>& live, const std::vector<sys::InterfaceAddress>& addresses,
    const std::set<NodePort>& node_ports);

}  // namespace sluice::dataplane::ipvs
