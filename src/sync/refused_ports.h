// SPDX-License-Identifier: Apache-2.0
// The Service ports of one family that the kernel refuses: since when, why, and when to retry each. Only a
// schedule: it makes no calls.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "dataplane/dataplane.h"
#include "sync/pending_changes.h"

namespace sluice::sync {

class RefusedPorts {
 public:
  // Between two attempts: the first interval, doubled each time, and the largest.
  static constexpr std::chrono::seconds kRetryMin{1};
  static constexpr std::chrono::minutes kRetryMax{5};

  struct Entry {
    std::string reason;
    bool untried = false;  // as in dataplane::RefusedPort
    std::size_t attempts = 0;
    Clock::WallTime since{};
    Clock::SteadyTime next_attempt{};
  };
  struct News {
    std::vector<dataplane::RefusedPort> refused;  // new, or with another reason than before
    std::vector<plan::ServicePortKey> let_in;     // were refused, are served now
  };
  // Notes what apply() of `changes` returned.
  News note(const dataplane::Changes& changes, const std::vector<dataplane::RefusedPort>& refused, const Clock& clock);

  void forget(const plan::ServicePortKey& port) { entries_.erase(port); }

  // Those with changes that wait to be programmed are left out of what follows: they are tried with these.
  // At most `most` that are due, those that have waited longest; in order of their keys.
  [[nodiscard]] std::vector<plan::ServicePortKey> due(Clock::SteadyTime now, std::size_t most,
                                                      const PendingChanges& pending) const;
  [[nodiscard]] std::optional<Clock::SteadyTime> next_attempt(const PendingChanges& pending) const;
  [[nodiscard]] const std::map<plan::ServicePortKey, Entry>& all() const { return entries_; }
  [[nodiscard]] bool contains(const plan::ServicePortKey& port) const { return entries_.contains(port); }

 private:
  std::map<plan::ServicePortKey, Entry> entries_;
};

}  // namespace sluice::sync
