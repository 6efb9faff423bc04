// SPDX-License-Identifier: Apache-2.0
#include "sync/unremoved.h"

#include <algorithm>

namespace sluice::sync {

std::vector<std::string> Unremoved::note(const std::vector<std::string>& unremoved, bool full, Clock::SteadyTime now) {
  std::vector<std::string> fresh;
  for (const std::string& object : unremoved) {
    if (!objects_.contains(object)) fresh.push_back(object);
  }
  if (full) objects_.clear();
  objects_.insert(unremoved.begin(), unremoved.end());
  if (objects_.empty()) {
    next_try_.reset();
    wait_ = kRetryMin;
  } else if (full || !next_try_) {
    next_try_ = now + wait_;
    wait_ = std::min<std::chrono::nanoseconds>(2 * wait_, kRetryMax);
  }
  return fresh;
}

bool Unremoved::take_due(Clock::SteadyTime now) {
  if (!next_try_ || now < *next_try_) return false;
  next_try_ = now + wait_;
  return true;
}

}  // namespace sluice::sync
