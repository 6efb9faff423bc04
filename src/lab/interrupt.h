// SPDX-License-Identifier: Apache-2.0
// Signals of a person who has seen enough. Whoever holds namespaces and processes must take them down first, so while a
// guard lives these signals only raise a flag.
#pragma once

#include <signal.h>

#include <array>

namespace sluice::lab {

// SIGINT, SIGTERM and SIGHUP raise the flag; SIGPIPE is ignored: a reader of our output that goes away (`| head`) must
// not end us either. The destructor puts the former actions back. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  std::array<struct sigaction, 4> before_{};
};

// The signal that came since the last guard was made; 0 = none.
int interrupted();

}  // namespace sluice::lab
