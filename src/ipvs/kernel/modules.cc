// SPDX-License-Identifier: Apache-2.0
// Modules are loaded by modprobe(8), which knows their dependencies, aliases and the operator's black list.
#include "ipvs/kernel/modules.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "sys/process.h"

namespace sluice::ipvs::kernel {
namespace {

constexpr const char* kModprobe = "/sbin/modprobe";

// Names of schedulers come from users; a module's name consists only of these.
bool is_module_name(const std::string& name) {
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

// An operator's "install ip_vs /bin/false" prints nothing.
std::string reason(const sys::CollectedOutcome& outcome) {
  if (outcome.error_output.empty()) return fmt::format("modprobe ended with status {}", outcome.exit_status);
  return outcome.error_output.substr(0, outcome.error_output.find('\n'));
}

}  // namespace

Result<> load_module(const std::string& name) {
  if (!is_module_name(name)) return fail(Errc::kUnsupported, fmt::format("there is no kernel module '{}'", name));
  const auto outcome = sys::run_and_collect({kModprobe, "--", name}, {}, std::chrono::seconds(30));
  if (!outcome)
    return fail(Errc::kUnsupported, fmt::format("kernel module {} cannot be loaded: {}", name, outcome.error().what));
  if (outcome->exit_status != 0) {
    return fail(Errc::kUnsupported, fmt::format("kernel module {} cannot be loaded: {}", name, reason(*outcome)));
  }
  return {};
}

}  // namespace sluice::ipvs::kernel
