// SPDX-License-Identifier: Apache-2.0
// The rule that keeps neighbours from 127.0.0.0/8, by itself: where nothing else of the mode is to be written.
#pragma once

#include "base/result.h"
#include "dataplane/iptables/tool.h"

namespace sluice::dataplane::iptables {

// Adds what is missing of it: the chain KUBE-FIREWALL, which is kubelet's, too, and is not emptied; the rule; the jumps.
// Returns whether the rule was there before.
Result<bool> ensure_guard(const Tool& tool);

}  // namespace sluice::dataplane::iptables
