// SPDX-License-Identifier: Apache-2.0
// `sluice lab ...` without the rest of sluice: a small program for the tests of labs whose agent is a process.
#include <cstdio>
#include <string>
#include <vector>

#include "lab/command.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.empty() || arguments.front() != "lab") {
    std::fputs("usage: sluice_lab_tool lab COMMAND [ARGUMENT...]\n", stderr);
    return 2;
  }
  return sluice::lab::run_command({arguments.begin() + 1, arguments.end()});
}
