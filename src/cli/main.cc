// SPDX-License-Identifier: Apache-2.0
// One program, several names. `sluice COMMAND ...` chooses by its first word; called as `kube-proxy` it is `sluice
// proxy`, so that an image or a unit file that starts /usr/local/bin/kube-proxy needs only a link; called as
// `ipvsadm`, `ipvsadm-save` or `ipvsadm-restore` it is that program.
#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "daemon/commands.h"
#include "ipvs/engines/command.h"
#include "lab/command.h"
#include "sys/standard_streams.h"

namespace {

using Arguments = std::vector<std::string>;

struct Command {
  std::string_view name;
  std::string_view summary;
  int (*run)(const Arguments& arguments);
};

int run_ipvsadm(const Arguments& arguments) {
  return sluice::ipvs::engines::run_ipvsadm("ipvsadm", arguments);
}

constexpr std::array<Command, 6> kCommands{{
    {"proxy", "the node daemon; takes kube-proxy's flags and configuration file", &sluice::daemon::run_proxy},
    {"status", "what this node serves, and whether the kernel matches it", &sluice::daemon::run_status},
    {"diff", "what is live in the kernel against what is wanted, object by object", &sluice::daemon::run_diff},
    {"cleanup", "remove everything of ours and of kube-proxy's, in every mode", &sluice::daemon::run_cleanup},
    {"ipvsadm", "show and change the table of virtual servers, as ipvsadm 1.31 does", &run_ipvsadm},
    {"lab", "a cluster in network namespaces on this machine", &sluice::lab::run_command},
}};

void print_usage(std::FILE* out) {
  fmt::print(out, "Sluice {}: a Kubernetes Service proxy\n\nusage: sluice COMMAND [ARGUMENT...]\n\n", SLUICE_VERSION);
  for (const Command& command : kCommands) fmt::print(out, "  {:<9} {}\n", command.name, command.summary);
  fmt::print(out, "\n`sluice COMMAND --help` prints more. Called under the name kube-proxy it is `sluice proxy`.\n");
}

}  // namespace

int main(int argc, char** argv) {
  sluice::sys::open_missing_standard_streams();
  const Arguments arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (argc > 0 && sluice::base_name(argv[0]) == "kube-proxy") return sluice::daemon::run_proxy(arguments);
  if (argc > 0 && sluice::ipvs::engines::is_ipvsadm_name(argv[0]))
    return sluice::ipvs::engines::run_ipvsadm(argv[0], arguments);
  if (arguments.empty()) {
    print_usage(stderr);
    return 2;
  }
  for (const Command& command : kCommands) {
    if (command.name == arguments.front()) return command.run(Arguments(arguments.begin() + 1, arguments.end()));
  }
  if (arguments.front() == "version" || arguments.front() == "--version") {
    fmt::print("sluice {}\n", SLUICE_VERSION);
    return 0;
  }
  if (arguments.front() == "help" || arguments.front() == "--help" || arguments.front() == "-h") {
    print_usage(stdout);
    return 0;
  }
  fmt::print(stderr, "sluice: unknown command '{}'\n\n", arguments.front());
  print_usage(stderr);
  return 2;
}
