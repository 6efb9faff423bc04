// SPDX-License-Identifier: Apache-2.0
// Takes away what other modes left, once they serve no one any more: of every mechanism, beside what serves, in pieces
// small enough for the control loop's thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "dataplane/mechanism.h"

namespace sluice::sync {

class LeftoverSweep {
 public:
  struct Party {
    dataplane::Mechanism* mechanism = nullptr;
    std::vector<Family> serving{};  // those that the mechanism's data planes serve; of others, none
  };
  // Between two looks at whether connections still go on there.
  static constexpr std::chrono::seconds kLookInterval{10};
  // After a removal that left something: the first interval, doubled each time, and the largest.
  static constexpr std::chrono::minutes kRetryMin{1};
  static constexpr std::chrono::minutes kRetryMax{60};

  // Mechanisms and clock outlive it. The time to drain begins with the first step().
  LeftoverSweep(std::vector<Party> parties, const Clock& clock);

  // One look at one mechanism, or one piece of a removal, if any is due. Returns how long nothing will be due; nothing
  // when all is done.
  std::optional<std::chrono::nanoseconds> step();

 private:
  struct Work {
    Party party;
    Clock::SteadyTime next{};
    std::optional<Clock::SteadyTime> deadline{};  // of its connections
    std::optional<dataplane::Leftovers> removing{};
    std::vector<dataplane::Objects> removed{};
    std::vector<std::string> problems{};
    std::vector<std::string> reported{};  // already logged, and not again
    std::chrono::nanoseconds retry{kRetryMin};
    bool done = false;
  };
  void look(Work& work, Clock::SteadyTime now);
  void remove_piece(Work& work, Clock::SteadyTime now);
  static void report(Work& work, const std::vector<std::string>& texts);

  std::vector<Work> work_;
  const Clock& clock_;
};

}  // namespace sluice::sync
