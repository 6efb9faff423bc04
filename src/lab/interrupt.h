// SPDX-License-Identifier: Apache-2.0
// Signals from a user who wants to stop. Code that holds namespaces and processes must take them down first, so while a
// guard exists these signals only raise a flag.
#pragma once

#include <signal.h>

#include <array>

namespace sluice::lab {

// SIGINT, SIGTERM and SIGHUP raise the flag; SIGPIPE is ignored: a reader of our output that exits (`| head`) must
// not end us either. The destructor restores the former actions. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  std::array<struct sigaction, 4> before_{};
};

// The signal received since the last guard was made; 0 = none.
int interrupted();

}  // namespace sluice::lab
