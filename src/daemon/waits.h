// SPDX-License-Identifier: Apache-2.0
// What this proxy waits for, collected from its parts.
#pragma once

#include <string>
#include <vector>

#include "daemon/node_gate.h"
#include "kube/source.h"
#include "view/status.h"

namespace sluice::daemon {

// What the source waits for; if it lacks nothing, what the start needs from the Node.
std::vector<view::Wait> waits_of(const kube::Source& source, const NodeGate& gate);

// Why no Node object of this name is known; for /healthz, which then keeps load balancers away.
std::string why_node_is_unknown(const kube::Source& source, const std::string& source_words,
                                const std::string& node_name);

}  // namespace sluice::daemon
