// SPDX-License-Identifier: Apache-2.0
// Session affinity: a Service port with it has a set of clients for each of its real servers, which rules fill, and
// chains of its own that look there first.
#pragma once

#include <string>
#include <vector>

#include "dataplane/nftables/slots.h"
#include "dataplane/nftables/treatment.h"

namespace sluice::dataplane::nftables {

// "shop/web/tcp/http": in the names of chains and sets that belong to one Service port.
std::string own_word(const plan::ServicePortPlan& port);
// The same, or empty where the Service port has no affinity.
std::string sticky_word(const plan::ServicePortPlan& port);

// What one Service port has to itself.
struct OwnParts {
  std::vector<sys::NftSet> sets;
  std::vector<Chain> chains;  // each before those that lead to it
};
// `treatments` are those of its frontends. Nothing without affinity.
OwnParts own_parts(const plan::ServicePortPlan& port, const PortSlots& slots, const std::vector<Treatment>& treatments,
                   const RuleSettings& settings);

}  // namespace sluice::dataplane::nftables
