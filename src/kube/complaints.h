// SPDX-License-Identifier: Apache-2.0
// A lasting problem is logged once, and again when it changes: a log that repeats itself hides what is new. Code that
// looks at the same things repeatedly does so in rounds; what a round no longer finds may be logged again later.
#pragma once

#include <set>
#include <string>
#include <utility>

namespace sluice::kube {

class Complaints {
 public:
  void begin_round() { before_ = std::exchange(now_, {}); }
  // True if this text is new, so that it must be logged. It names the thing and what is wrong with it.
  [[nodiscard]] bool is_new(const std::string& words) { return now_.insert(words).second && !before_.contains(words); }

 private:
  std::set<std::string> before_;  // of the previous round
  std::set<std::string> now_;
};

}  // namespace sluice::kube
