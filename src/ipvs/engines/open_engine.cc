// SPDX-License-Identifier: Apache-2.0
// An engine is one line here, and one word in ipvs/engine_choice.h.
#include "ipvs/engines/open_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <utility>

#include "ipvs/ebpf/ebpf_engine.h"
#include "ipvs/engine_choice.h"
#include "ipvs/kernel/kernel_engine.h"

namespace sluice::ipvs::engines {
namespace {

struct Entry {
  EngineChoice choice;
  Result<std::unique_ptr<Engine>> (*open)();
  bool (*in_use)();
};

Result<std::unique_ptr<Engine>> open_kernel() {
  return kernel::KernelEngine::open();
}

bool kernel_in_use() {
  return kernel::KernelEngine::in_use();
}

// In the order in which kAuto tries them.
constexpr std::array kEngines{Entry{EngineChoice::kKernel, &open_kernel, &kernel_in_use},
                              Entry{EngineChoice::kEbpf, &ebpf::EbpfEngine::open, &ebpf::EbpfEngine::in_use}};

static_assert(std::equal(kEngines.begin(), kEngines.end(), kBuiltInEngines.begin(), kBuiltInEngines.end(),
                         [](const Entry& entry, EngineChoice choice) { return entry.choice == choice; }));

}  // namespace

Result<std::unique_ptr<Engine>> open_engine(EngineChoice choice) {
  SLUICE_CHECK_OK(check_built_in(choice));
  const auto* entry =
      std::find_if(kEngines.begin(), kEngines.end(), [choice](const Entry& each) { return each.choice == choice; });
  if (entry != kEngines.end()) return entry->open();
  // One that serves here is not left for another that could: who lists wants to see what packets meet.
  auto order = kEngines;
  const auto used = std::ranges::find_if(order, [](const Entry& each) { return each.in_use(); });
  if (used != order.end()) std::rotate(order.begin(), used, std::next(used));
  std::optional<Error> why;  // with the first one's code and errno
  for (const Entry& each : order) {
    auto engine = each.open();
    // Who is not root has no need to know of the others.
    if (engine || (!why && engine.error().code == Errc::kPermission)) return engine;
    if (!why) {
      why = engine.error();
    } else {
      why->what += fmt::format("; and the engine {}: {}", to_string(each.choice), engine.error().what);
    }
  }
  return tl::unexpected(*std::move(why));
}

std::vector<EngineChoice> engines_in_use() {
  std::vector<EngineChoice> choices;
  for (const Entry& engine : kEngines) {
    if (engine.in_use()) choices.push_back(engine.choice);
  }
  return choices;
}

}  // namespace sluice::ipvs::engines
