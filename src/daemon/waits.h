// SPDX-License-Identifier: Apache-2.0
// What this proxy waits for, gathered from those who wait.
#pragma once

#include <string>
#include <vector>

#include "daemon/node_gate.h"
#include "kube/source.h"
#include "view/status.h"

namespace sluice::daemon {

// What the source waits for; where it lacks nothing, what the start waits for of the Node.
std::vector<view::Wait> waits_of(const kube::Source& source, const NodeGate& gate);

// Why no Node object of this name is known; for /healthz, which turns balancers away for it.
std::string why_node_is_unknown(const kube::Source& source, const std::string& source_words,
                                const std::string& node_name);

}  // namespace sluice::daemon
