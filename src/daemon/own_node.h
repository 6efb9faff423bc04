// SPDX-License-Identifier: Apache-2.0
// Which node this is: its name, and, once its source has reported them, its Node object and its addresses.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "config/detect.h"
#include "daemon/node_gate.h"
#include "model/object.h"

namespace sluice::daemon {

// hostnameOverride, or else this host's name.
Result<std::string> own_node_name(const config::ProxyConfig& config);

struct OwnNode {
  std::string name;
  std::optional<model::Node> object;  // as first reported with all that was waited for
  config::NodeIps ips;
  [[nodiscard]] std::vector<Cidr> pod_cidrs() const { return object ? object->pod_cidrs : std::vector<Cidr>{}; }
  [[nodiscard]] std::string zone() const;  // empty if none is known
};

// Waits for the Node as kube-proxy does: 30 seconds for an address, and 5 minutes for podCIDRs if pods are recognised
// by these (detectLocalMode NodeCIDR). Without an address the node's is loopback or, with `files`, which need
// not have a Node, this host's own addresses. Nothing if the gate was given up.
Result<std::optional<OwnNode>> learn_own_node(const config::ProxyConfig& config, const std::string& name, bool files,
                                              NodeGate& gate);

}  // namespace sluice::daemon
