// SPDX-License-Identifier: Apache-2.0
// The end of a mode's life on this node. What a mode has here and no data plane of this process needs is removed, in
// pieces small enough for the control loop's thread: what earlier processes left, ours or kube-proxy's, and what a plane
// of this process leaves when it is gone. The first look at a mode comes when every family is served, the next one
// whenever a plane of that mode has come or gone.
//
// A mode is left alone while one of its planes is being programmed or retires: whose an object is, is not known then.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "dataplane/mechanism.h"

namespace sluice::sync {

// What the data planes of one mode do just now; a mode without any is not in ModesInUse.
struct ModeInUse {
  std::vector<Family> serving{};  // the families that a plane of it serves
  bool changing = false;          // a plane of it is being programmed, or retires
  friend bool operator==(const ModeInUse&, const ModeInUse&) = default;
};
using ModesInUse = std::map<std::string, ModeInUse, std::less<>>;

class LeftoverSweep {
 public:
  // Between two looks at whether connections still go on there.
  static constexpr std::chrono::seconds kLookInterval{10};
  // After a removal that left something: the first interval, doubled each time, and the largest.
  static constexpr std::chrono::minutes kRetryMin{1};
  static constexpr std::chrono::minutes kRetryMax{60};

  // Mechanisms and clock outlive it.
  LeftoverSweep(const std::vector<dataplane::Mechanism*>& mechanisms, const Clock& clock);

  // One look at one mode, or one piece of a removal, if any is due. Every family is served.
  void step(const ModesInUse& in_use);
  // Nothing where all is done, until a plane begins or is gone.
  [[nodiscard]] std::optional<Clock::SteadyTime> next_wake() const;

 private:
  struct Work {
    dataplane::Mechanism* mechanism = nullptr;
    std::optional<ModeInUse> in_use{};  // as of the last step
    // Since when the mode takes no new connections but those of the families that it serves.
    Clock::SteadyTime quiet_since{};
    Clock::SteadyTime next{};
    std::optional<dataplane::Leftovers> removing{};
    std::vector<dataplane::Objects> removed{};
    std::vector<std::string> problems{};
    std::vector<std::string> reported{};  // already logged, and not again
    std::chrono::nanoseconds retry{kRetryMin};
    bool done = false;
    [[nodiscard]] bool waits() const { return !done && !in_use->changing; }
  };
  static void note_use(Work& work, const ModesInUse& in_use, Clock::SteadyTime now);
  static void look(Work& work, Clock::SteadyTime now);
  static void remove_piece(Work& work, Clock::SteadyTime now);
  static void report_removed(Work& work);
  static void report(Work& work, const std::vector<std::string>& texts);

  std::vector<Work> work_;
  const Clock& clock_;
};

}  // namespace sluice::sync
