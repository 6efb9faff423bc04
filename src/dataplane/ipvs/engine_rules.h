// SPDX-License-Identifier: Apache-2.0
// The helper table of an engine that needs no helper rules: the same elements, which it hands to the engine as rules of
// Services. What remains in nftables is one rule that masquerades (masquerade_table.h).
#pragma once

#include <memory>
#include <string>

#include "dataplane/ipvs/helper_table.h"
#include "dataplane/ipvs/masquerade_table.h"
#include "ipvs/service_rules.h"

namespace sluice::dataplane::ipvs {

sluice::ipvs::RuleSettings rule_settings(const HelperSettings& settings);
// All at once; change() of the table comes to the same.
sluice::ipvs::RuleElements rule_elements(const HelperElements& elements, const HelperSettings& settings);

// `rules` must outlive it. `name` is the engine's.
std::unique_ptr<HelperTable> make_engine_rules(sluice::ipvs::ServiceRules& rules, std::string name,
                                               const HelperSettings& settings,
                                               std::unique_ptr<MasqueradeTable> masquerade);

}  // namespace sluice::dataplane::ipvs
