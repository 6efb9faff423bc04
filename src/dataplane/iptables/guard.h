// SPDX-License-Identifier: Apache-2.0
// The rule that keeps neighbours from 127.0.0.0/8, alone: for when nothing else of the mode must be written.
#pragma once

#include "base/result.h"
#include "dataplane/iptables/tool.h"

namespace sluice::dataplane::iptables {

// Adds its missing parts: the chain KUBE-FIREWALL, which is also kubelet's and is not emptied; the rule; the jumps.
// Returns whether the rule existed before.
Result<bool> ensure_guard(const Tool& tool);

}  // namespace sluice::dataplane::iptables
