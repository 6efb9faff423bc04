// SPDX-License-Identifier: Apache-2.0
// A handler may do very little (signal-safety(7)), so it stores the signal's number; loops check it.
#include "lab/interrupt.h"

namespace sluice::lab {
namespace {

constexpr std::array<int, 4> kSignals{SIGINT, SIGTERM, SIGHUP, SIGPIPE};
volatile sig_atomic_t last_signal = 0;

}  // namespace

InterruptGuard::InterruptGuard() {
  last_signal = 0;
  struct sigaction action{};
  action.sa_handler = [](int signal) { last_signal = signal; };
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    if (kSignals[i] == SIGPIPE) action.sa_handler = SIG_IGN;
    ::sigaction(kSignals[i], &action, &before_[i]);
  }
}

InterruptGuard::~InterruptGuard() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
}

int interrupted() {
  return last_signal;
}

}  // namespace sluice::lab
