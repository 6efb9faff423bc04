// SPDX-License-Identifier: Apache-2.0
// A rolling update of a large Deployment changes a slice hundreds of times in a few seconds. Programming the kernel
// each time wastes the node's CPU; waiting for a quiet period makes the first change late. The compromise is old
// (kube-proxy's BoundedFrequencyRunner): after a quiet time the first change runs at once, and everything that arrives
// during that run or within min_interval after its end is handled together in the next.
#include "sync/runner.h"

#include <algorithm>

namespace sluice::sync {

std::optional<Clock::SteadyTime> BoundedFrequencyRunner::next_run() const {
  if (!finished_) {
    if (!requested_) return std::nullopt;
    return clock_.steady_now();
  }
  Clock::SteadyTime wanted = *finished_ + settings_.max_interval;
  if (retry_) wanted = std::min(wanted, *retry_);
  if (requested_)
    wanted =
        std::min(wanted, *finished_ + (retry_ ? settings_.min_interval_after_failure : std::chrono::nanoseconds(0)));
  return std::max(wanted, *finished_ + settings_.min_interval);
}

bool BoundedFrequencyRunner::due() const {
  const auto next = next_run();
  return next && *next <= clock_.steady_now();
}

void BoundedFrequencyRunner::finish(bool succeeded) {
  finished_ = clock_.steady_now();
  retry_.reset();
  if (!succeeded) retry_ = *finished_ + settings_.retry_interval;
}

}  // namespace sluice::sync
