// SPDX-License-Identifier: Apache-2.0
// Run: what one apply() has done so far, and what the kernel refused, by Service port.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "ipvs/virtual_server.h"

namespace sluice::dataplane::ipvs {

struct Run {
  ApplyStats stats;
  std::optional<Error> surprise;                    // the kernel is not as it was known to be
  std::set<sluice::ipvs::VirtualServerKey> failed;  // could not be added
  std::map<plan::ServicePortKey, std::vector<std::string>> refused;
  std::vector<std::string> unremoved;

  // Drops what failed, not what was done: everything is about to be retried.
  void begin_again();
  [[nodiscard]] Outcome outcome() const;
};

// At most the first three of `all`, and how many more there are.
std::string in_short(const std::vector<std::string>& all);

}  // namespace sluice::dataplane::ipvs
