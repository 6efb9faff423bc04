// SPDX-License-Identifier: Apache-2.0
// What is wrong for long is said once, and again when it changed: a log that repeats itself hides what is new. Who looks
// at the same things again and again does so in rounds; what a round no longer finds may be said anew by a later one.
#pragma once

#include <set>
#include <string>
#include <utility>

namespace sluice::kube {

class Complaints {
 public:
  void begin_round() { before_ = std::exchange(now_, {}); }
  // True: these words are new, so say them. They name the thing and what is wrong with it.
  [[nodiscard]] bool is_new(const std::string& words) { return now_.insert(words).second && !before_.contains(words); }

 private:
  std::set<std::string> before_;  // of the round before
  std::set<std::string> now_;
};

}  // namespace sluice::kube
