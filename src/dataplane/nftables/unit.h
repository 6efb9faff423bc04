// SPDX-License-Identifier: Apache-2.0
// Units: what the kernel must take together or not at all, so that no Service is served half. Usually the change of one
// Service port; of several, where one gives up an address that another one gets.
#pragma once

#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/nft/elements.h"
#include "dataplane/nftables/affinity.h"
#include "dataplane/nftables/encode.h"
#include "dataplane/nftables/live.h"
#include "dataplane/nftables/parts.h"

namespace sluice::dataplane::nftables {

// One Service port's step from what is live of it to what is wanted.
struct Step {
  plan::ServicePortKey key;
  plan::ServicePortPlanPtr before;  // null: nothing is live
  plan::ServicePortPlanPtr after;   // null: it goes
  Encoded from;                     // without elements: those are in the unit
  Encoded to;
  // Names of chains and sets that it uses, and what it has to itself of them.
  PartNames from_parts;
  PartNames to_parts;
  OwnParts own;
  PortSlots slots;  // of `after`
};

struct Unit {
  std::vector<Step> steps;
  nft::ElementChanges changes;
  std::vector<Live::Place> settles;  // in Live, once the unit is through
};

// The unit of a port of which the live elements were read.
Result<Unit> unit_over_live(const plan::ServicePortPlanPtr& wanted, const Live& live, const RuleSettings& settings);

// Of a port of which it is known what is live, by its plan and its slots.
struct Known {
  plan::ServicePortPlanPtr port;
  PortSlots slots;
};
Result<Unit> unit_over_known(const Known& before, const plan::ServicePortPlanPtr& after,
                             const plan::ServicePortKey& key, const RuleSettings& settings);

// Puts units that touch the same frontend together; the order of the others stays.
std::vector<Unit> connected(std::vector<Unit> units);

}  // namespace sluice::dataplane::nftables
