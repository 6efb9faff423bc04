// SPDX-License-Identifier: Apache-2.0
#include "ipvs/engine_choice.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::ipvs {

std::string_view to_string(EngineChoice choice) {
  const auto* found =
      std::find_if(kEngineWords.begin(), kEngineWords.end(), [&](const auto& each) { return each.second == choice; });
  return found == kEngineWords.end() ? "?" : found->first;
}

Result<EngineChoice> parse_engine_choice(std::string_view word) {
  const auto* found =
      std::find_if(kEngineWords.begin(), kEngineWords.end(), [&](const auto& each) { return each.first == word; });
  if (found != kEngineWords.end()) return found->second;
  return fail(Errc::kInvalid,
              fmt::format("there is no IPVS engine '{}': it is one of {}, auto", word, built_in_engines(", ")));
}

Result<> check_built_in(EngineChoice choice) {
  const bool built_in = std::find(kBuiltInEngines.begin(), kBuiltInEngines.end(), choice) != kBuiltInEngines.end();
  if (choice == EngineChoice::kAuto || built_in) return {};
  return fail(Errc::kUnsupported,
              fmt::format("the IPVS engine '{}' is not built into this program", to_string(choice)));
}

std::string built_in_engines(std::string_view separator) {
  std::string names;
  for (const EngineChoice each : kBuiltInEngines) {
    if (!names.empty()) names += separator;
    names += to_string(each);
  }
  return names;
}

}  // namespace sluice::ipvs
