// SPDX-License-Identifier: Apache-2.0
// What a Service requests of this mode by annotation, and what of that it does not get. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace sluice::dataplane::nftables {

inline constexpr const char* kSchedulerAnnotation = "sluice.dev/scheduler";

// kTurns takes each endpoint that has any weight once a turn, as rr of mode ipvs does; kWeightedTurns by weight.
enum class Scheduler : std::uint8_t { kChance, kTurns, kWeightedTurns, kUnknown };
Scheduler scheduler_of(const plan::ServicePortPlan& port);
inline bool takes_turns(Scheduler scheduler) {
  return scheduler == Scheduler::kTurns || scheduler == Scheduler::kWeightedTurns;
}

// Sentences for users, which stay the same while the same request is unmet: each new one is reported.
std::vector<std::string> unmet_requests(const plan::ServicePortPlan& port);

}  // namespace sluice::dataplane::nftables
