// SPDX-License-Identifier: Apache-2.0
// ipvsadm as a program of its own: what tests in a guest run under its three names.
#include <string>
#include <vector>

#include "ipvs/engines/command.h"

int main(int argc, char** argv) {
  return sluice::ipvs::engines::run_ipvsadm(argv[0], std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
