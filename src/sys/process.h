// SPDX-License-Identifier: Apache-2.0
// Runs a program and talks to it through pipes, both ways at once, so that a large input or output is never in
// memory as a whole and never deadlocks. Programs inherit this process' network namespace and nothing else but stdio,
// and are killed if this process is killed.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::sys {

struct ProcessOutcome {
  int exit_status = 0;       // of exit(3); 128 + signal if one ended it
  std::string error_output;  // stderr, at most 64 KiB of it (its end)
};

struct ProcessOptions {
  std::vector<std::string> arguments;  // arguments[0] is the program, looked up in PATH
  // Called repeatedly for more standard input until it returns an empty view; the view is valid until the next call.
  std::function<std::string_view()> input;
  // Called with standard output as it arrives.
  std::function<void(std::string_view)> output;
  std::chrono::milliseconds timeout{std::chrono::minutes(5)};  // then SIGKILL and Errc::kUnavailable
};

// An Error only if the program could not be run to its end (not found, timeout); an exit status other than 0 is an
// outcome.
Result<ProcessOutcome> run_process(const ProcessOptions& options);

// The usual small case: output collected, no input.
struct CollectedOutcome {
  int exit_status = 0;
  std::string output;
  std::string error_output;
};
Result<CollectedOutcome> run_and_collect(std::vector<std::string> arguments, std::string_view input = {},
                                         std::chrono::milliseconds timeout = std::chrono::minutes(1));

}  // namespace sluice::sys
