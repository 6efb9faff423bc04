// SPDX-License-Identifier: Apache-2.0
// The objects of one data plane that are no longer wanted and that the kernel does not release: which, and when to try
// again. A try is a full sync, which reads everything, so tries become rare soon. A schedule only: it makes no calls.
#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"

namespace sluice::sync {

class Unremoved {
 public:
  // Between two tries: at first, doubled each time, and at most.
  static constexpr std::chrono::minutes kRetryMin{1};
  static constexpr std::chrono::minutes kRetryMax{60};

  // Takes in what an apply() returned (dataplane::Outcome), and returns what is new.
  std::vector<std::string> note(const std::vector<std::string>& unremoved, bool full, Clock::SteadyTime now);
  // Whether a try is due. If so, the next one is put off: the sync may fail.
  bool take_due(Clock::SteadyTime now);
  [[nodiscard]] const std::optional<Clock::SteadyTime>& next_try() const { return next_try_; }
  [[nodiscard]] std::vector<std::string> list() const { return {objects_.begin(), objects_.end()}; }

 private:
  std::set<std::string> objects_;
  std::optional<Clock::SteadyTime> next_try_;
  std::chrono::nanoseconds wait_{kRetryMin};
};

}  // namespace sluice::sync
