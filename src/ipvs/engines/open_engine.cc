// SPDX-License-Identifier: Apache-2.0
// An engine is one line here, and its name one in ipvs/engine_names.h.
#include "ipvs/engines/open_engine.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "ipvs/engine_names.h"
#include "ipvs/kernel/kernel_engine.h"

namespace sluice::ipvs::engines {
namespace {

struct Entry {
  std::string_view name;
  Result<std::unique_ptr<Engine>> (*open)();
  bool (*in_use)();
};

Result<std::unique_ptr<Engine>> open_kernel() {
  return kernel::KernelEngine::open();
}

// Exists in every network namespace as soon as the module is loaded.
bool kernel_in_use() {
  return ::access("/proc/thread-self/net/ip_vs", F_OK) == 0;
}

// In the order in which "auto" tries them.
constexpr std::array kEngines{Entry{"kernel", &open_kernel, &kernel_in_use}};

static_assert(std::equal(kEngines.begin(), kEngines.end(), kEngineNames.begin(), kEngineNames.end(),
                         [](const Entry& entry, std::string_view name) { return entry.name == name; }));

}  // namespace

Result<std::unique_ptr<Engine>> open_engine(std::string_view choice) {
  if (choice == "auto") {
    // Returns the error of the first one: what is missing for the engine that a node should have.
    auto first = kEngines.front().open();
    for (auto entry = kEngines.begin() + 1; !first && entry != kEngines.end(); ++entry) {
      if (auto engine = entry->open()) return engine;
    }
    return first;
  }
  const auto entry =
      std::find_if(kEngines.begin(), kEngines.end(), [choice](const Entry& each) { return each.name == choice; });
  if (entry != kEngines.end()) return entry->open();
  if (choice == "ebpf") return fail(Errc::kUnsupported, "the IPVS engine 'ebpf' is not built into this program");
  return fail(Errc::kInvalid, fmt::format("there is no IPVS engine '{}': it is one of {}, auto", choice,
                                          fmt::join(kEngineNames, ", ")));
}

std::vector<std::string_view> engines_in_use() {
  std::vector<std::string_view> names;
  for (const Entry& engine : kEngines) {
    if (engine.in_use()) names.push_back(engine.name);
  }
  return names;
}

}  // namespace sluice::ipvs::engines
