// SPDX-License-Identifier: Apache-2.0
// For tests on the real kernel: a private network namespace, and the output of real programs there.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>

#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "sys/process.h"

namespace sluice {

// Runs `body` on a thread with its own network namespace, which the programs it starts share, and which ends with
// the thread.
template <typename Body>
void in_fresh_netns(Body body) {
  std::thread([&body] {
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "this test needs root";
    body();
  }).join();
}

// The output of a program that must succeed.
inline std::string run(const std::vector<std::string>& arguments, std::string_view input = {}) {
  const auto outcome = sys::run_and_collect(arguments, input);
  if (!outcome) {
    ADD_FAILURE() << outcome.error().what;
    return "";
  }
  EXPECT_EQ(outcome->exit_status, 0) << arguments[0] << ": " << outcome->error_output << "\n" << input;
  return outcome->output;
}

}  // namespace sluice
