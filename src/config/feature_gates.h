// SPDX-License-Identifier: Apache-2.0
// Feature gates: Kubernetes' switches for behaviour that is new or on its way out.
//
// kube-proxy knows the names of all of Kubernetes' gates, several hundred, and refuses any other; it uses about
// ten. We use those that have an effect here and accept every well-formed name, so that a featureGates block that
// is shared between components keeps working: a misspelt gate is logged, not refused.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::config {

// "A=true,B=false", as in --feature-gates; white space around names and values does not matter.
Result<std::map<std::string, bool>> parse_feature_gates(std::string_view text);

// An error for a name that cannot be a gate's, and for a locked gate set to the other value. Otherwise the names of the
// gates that have no effect here, for the log.
Result<std::vector<std::string>> check_feature_gates(const std::map<std::string, bool>& gates);

// The configured value of a gate, or else its default in Kubernetes 1.36; false for gates we do not know.
bool gate_enabled(const std::map<std::string, bool>& gates, std::string_view name);

}  // namespace sluice::config
