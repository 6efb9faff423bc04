// SPDX-License-Identifier: Apache-2.0
// Time is injected: code that needs "now" takes a Clock, so that tests control the time.
#pragma once

#include <chrono>

namespace sluice {

class Clock {
 public:
  using SteadyTime = std::chrono::steady_clock::time_point;
  using WallTime = std::chrono::system_clock::time_point;
  virtual ~Clock() = default;
  [[nodiscard]] virtual SteadyTime steady_now() const = 0;  // for intervals; never goes back
  [[nodiscard]] virtual WallTime wall_now() const = 0;      // for users and for metrics
};

// The machine's clocks.
const Clock& system_clock();

// A clock that changes only when a test moves it.
class FakeClock : public Clock {
 public:
  [[nodiscard]] SteadyTime steady_now() const override { return steady_; }
  [[nodiscard]] WallTime wall_now() const override { return wall_; }
  void advance(std::chrono::nanoseconds by) {
    steady_ += std::chrono::duration_cast<SteadyTime::duration>(by);
    wall_ += std::chrono::duration_cast<WallTime::duration>(by);
  }

 private:
  SteadyTime steady_{std::chrono::hours(1000)};
  WallTime wall_{std::chrono::hours(24 * 365 * 50)};
};

}  // namespace sluice
