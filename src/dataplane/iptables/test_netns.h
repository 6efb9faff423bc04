// SPDX-License-Identifier: Apache-2.0
// For this room's tests: a private network namespace, and the output of the real programs there.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/iptables/tool.h"
#include "sys/test_netns.h"

namespace sluice::dataplane::iptables {

// "nft", "legacy", or "auto": the one that the node uses.
inline std::optional<Flavour> flavour_named(std::string_view name) {
  for (const Flavour flavour : {Flavour::kNft, Flavour::kLegacy}) {
    if (name == to_string(flavour)) return flavour;
  }
  EXPECT_EQ(name, "auto");
  return std::nullopt;
}

inline Tool tool_for(Family family, std::string_view flavour) {
  auto tool = find_tool(family, flavour_named(flavour));
  if (!tool) {
    ADD_FAILURE() << tool.error().what;
    return {};
  }
  return *std::move(tool);
}

// What iptables-save prints, without dates and counters: "table line", in the order of the tables' names.
inline std::vector<std::string> saved_lines(const Tool& tool) {
  std::istringstream text(run({tool.save}));
  std::vector<std::pair<std::string, std::string>> lines;
  std::string table;
  for (std::string line; std::getline(text, line);) {
    if (line.empty() || line[0] == '#' || line == "COMMIT") continue;
    if (line[0] == '*') {
      table = line.substr(1);
      continue;
    }
    if (line[0] == ':') line = line.substr(0, line.find(" ["));
    lines.emplace_back(table, line);
  }
  std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> result;
  for (const auto& [name, line] : lines) result.push_back(name + " " + line);
  return result;
}

inline std::vector<std::string> sorted(std::vector<std::string> lines) {
  std::sort(lines.begin(), lines.end());
  return lines;
}

// Lines that contain `part`.
inline std::vector<std::string> lines_with(const std::vector<std::string>& lines, std::string_view part) {
  std::vector<std::string> found;
  for (const std::string& line : lines) {
    if (line.find(part) != std::string::npos) found.push_back(line);
  }
  return found;
}

}  // namespace sluice::dataplane::iptables
