// SPDX-License-Identifier: Apache-2.0
// What the real kube-proxy's mode ipvs creates beside virtual servers and the device: IP sets, and chains of iptables
// that no other mode has.
#pragma once

#include <string>
#include <vector>

#include "base/ip.h"
#include "dataplane/rules_in_iptables.h"

namespace sluice::dataplane::ipvs {

// Of both families, of every version.
std::vector<std::string> kube_proxys_ip_sets();
// Chains, and what refers to them or to the sets.
OwnedRules kube_proxys_rules();

struct NodePortSet {
  const char* name;
  Protocol protocol;
};
// These contain the node ports that kube-proxy serves, including those with policy Local.
const std::vector<NodePortSet>& kube_proxys_node_port_sets();

}  // namespace sluice::dataplane::ipvs
