// SPDX-License-Identifier: Apache-2.0
// Slots: the numbers from 0 on among which chance chooses, each with a real server in it. One that goes leaves its slot
// to another, so that a change of one real server is a change of one or two slots, however many there are.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "plan/plan.h"

namespace sluice::dataplane::nftables {

using Slots = std::vector<plan::AddressPort>;

// More weight is more slots. Where the weights need more than this many, or than four for each real server if that is
// more, they are made smaller in proportion, and there may be one more for each real server; never more than can be
// numbered.
inline constexpr std::size_t kWeightedSlotsMax = 1024;
inline constexpr std::size_t kSlotsMax = 0xffff;

// Those of a pool where nothing is there yet: in the order of the real servers, each as often as its weight says.
Slots fresh_slots(const plan::ServicePortPlan& port, plan::Pool pool);
// The same real servers as `wanted`, each as often, with as few differences to `before` as can be. A slot of `before`
// without a real server is to be filled.
Slots rearranged(const std::vector<std::optional<plan::AddressPort>>& before, const Slots& wanted);

// Those of a Service port, by pool.
struct PortSlots {
  Slots cluster;
  Slots local;
  [[nodiscard]] const Slots& of(plan::Pool pool) const { return pool == plan::Pool::kCluster ? cluster : local; }
  friend bool operator==(const PortSlots&, const PortSlots&) = default;
};
PortSlots fresh_slots(const plan::ServicePortPlan& port);
PortSlots rearranged(const PortSlots& before, const PortSlots& wanted);

}  // namespace sluice::dataplane::nftables
