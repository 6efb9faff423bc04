// SPDX-License-Identifier: Apache-2.0
// Decides when the next sync of a family may begin. kube-proxy's bounded-frequency runner as a state machine: it never
// sleeps and makes no calls, it only returns a time. Its owner calls it, runs, and reports the outcome.
#pragma once

#include <chrono>
#include <optional>

#include "base/clock.h"

namespace sluice::sync {

struct RunnerSettings {
  std::chrono::nanoseconds min_interval{std::chrono::seconds(1)};     // minSyncPeriod; 0 = as fast as syncs go
  std::chrono::nanoseconds retry_interval{std::chrono::seconds(30)};  // syncPeriod
  std::chrono::nanoseconds max_interval{std::chrono::hours(1)};
  // After a failed run requests wait at least this long, so that a stream of changes does not turn min_interval 0 into
  // a busy loop of failing full syncs.
  std::chrono::nanoseconds min_interval_after_failure{std::chrono::seconds(1)};
};

class BoundedFrequencyRunner {
 public:
  BoundedFrequencyRunner(const RunnerSettings& settings, const Clock& clock) : settings_(settings), clock_(clock) {}

  void request() { requested_ = true; }  // many requests before a run are one
  // When the next run is due, perhaps in the past. Nothing before the first request.
  [[nodiscard]] std::optional<Clock::SteadyTime> next_run() const;
  [[nodiscard]] bool due() const;

  void begin() { requested_ = false; }  // a run begins: it satisfies all requests so far
  // The run is over. Intervals count from now. A failed one is due again after retry_interval, a successful one cancels
  // that.
  void finish(bool succeeded);

 private:
  RunnerSettings settings_;
  const Clock& clock_;
  bool requested_ = false;
  std::optional<Clock::SteadyTime> finished_;
  std::optional<Clock::SteadyTime> retry_;  // set iff the last run failed
};

}  // namespace sluice::sync
