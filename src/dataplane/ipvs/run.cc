// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/run.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::dataplane::ipvs {
namespace {

constexpr std::size_t kReasonsNamed = 3;

}  // namespace

std::string in_short(const std::vector<std::string>& all) {
  std::string text;
  for (std::size_t i = 0; i < std::min(all.size(), kReasonsNamed); ++i) text += (i == 0 ? "" : "; ") + all[i];
  if (all.size() > kReasonsNamed) text += fmt::format("; and {} more", all.size() - kReasonsNamed);
  return text;
}

void Run::begin_again() {
  surprise.reset();
  failed.clear();
  refused.clear();
  unremoved.clear();
}

Outcome Run::outcome() const {
  Outcome outcome{.stats = stats, .refused = {}, .unremoved = unremoved};
  for (const auto& [port, reasons] : refused) outcome.refused.push_back({port, in_short(reasons)});
  return outcome;
}

}  // namespace sluice::dataplane::ipvs
