// SPDX-License-Identifier: Apache-2.0
#include "view/diff.h"

#include <fmt/format.h>

#include <algorithm>

#include "view/json_parts.h"
#include "view/status_json.h"
#include "view/status_text.h"

namespace sluice::view {
namespace {

bool compared_all(const std::vector<FamilyView>& families) {
  return !families.empty() && std::ranges::all_of(families, &FamilyView::compared);
}

bool equal_all(const std::vector<FamilyView>& families) {
  return std::ranges::all_of(families, [](const FamilyView& each) { return each.difference.empty(); });
}

}  // namespace

std::string diff_text(const std::vector<FamilyView>& families) {
  if (compared_all(families) && equal_all(families)) return "live equals wanted\n";
  std::string out;
  for (const FamilyView& family : families) {
    out += fmt::format("{}, mode {}: {}\n", to_string(family.status.family), family.status.data_plane,
                       comparison_words(family));
    for (const std::string& each : family.difference.missing) out += fmt::format("- {}\n", each);
    for (const std::string& each : family.difference.unexpected) out += fmt::format("+ {}\n", each);
  }
  return out;
}

std::string diff_json(const std::vector<FamilyView>& families) {
  const auto family_json = [](const FamilyView& family) {
    return fmt::format(R"({{"family":"{}","dataPlane":{},"live":{},"compareError":{}}})",
                       to_string(family.status.family), json_string(family.status.data_plane), live_json(family),
                       text_or_null(family.compare_error));
  };
  return fmt::format("{{\"equalsWanted\":{},\"families\":{}}}\n", compared_all(families) && equal_all(families),
                     json_array(families, family_json));
}

int diff_exit_status(const std::vector<FamilyView>& families) {
  if (!compared_all(families)) return 2;
  return equal_all(families) ? 0 : 1;
}

}  // namespace sluice::view
