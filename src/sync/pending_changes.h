// SPDX-License-Identifier: Apache-2.0
// Changes of the plan that wait to be programmed, one per Service port: what was live first, and what is wanted last.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "plan/plan.h"

namespace sluice::sync {

class PendingChanges {
 public:
  // Keeps the first `before` and the last `after` of a port. A port that is back at its `before` needs no programming
  // and vanishes.
  void add(const plan::Change& change);
  [[nodiscard]] std::vector<plan::Change> list() const;  // in order of their keys
  [[nodiscard]] bool contains(const plan::ServicePortKey& key) const { return changes_.contains(key); }
  [[nodiscard]] bool empty() const { return changes_.empty(); }
  [[nodiscard]] std::size_t size() const { return changes_.size(); }
  void clear() { changes_.clear(); }

 private:
  std::map<plan::ServicePortKey, plan::Change> changes_;
};

}  // namespace sluice::sync
