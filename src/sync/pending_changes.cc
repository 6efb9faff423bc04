// SPDX-License-Identifier: Apache-2.0
// Between two syncs a port may change many times: a pod that is not ready for a second removes an endpoint and
// brings it back. A data plane gets only the difference between what is live and what is wanted now.
#include "sync/pending_changes.h"

namespace sluice::sync {

namespace {

bool same_port(const plan::ServicePortPlanPtr& one, const plan::ServicePortPlanPtr& other) {
  if (!one || !other) return one == other;
  return one == other || *one == *other;
}

}  // namespace

void PendingChanges::add(const plan::Change& change) {
  const auto [position, inserted] = changes_.try_emplace(change.key(), change);
  if (inserted) return;
  position->second.after = change.after;
  if (same_port(position->second.before, position->second.after)) changes_.erase(position);
}

std::vector<plan::Change> PendingChanges::list() const {
  std::vector<plan::Change> all;
  all.reserve(changes_.size());
  for (const auto& [key, change] : changes_) all.push_back(change);
  return all;
}

}  // namespace sluice::sync
