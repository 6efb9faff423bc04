// SPDX-License-Identifier: Apache-2.0
// Planner: keeps the Plan up to date as the Snapshot changes. It looks only at the Services it is told of: one changed slice
// costs what its Service costs, whatever the size of the cluster. Pure: no clock, no I/O.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "model/snapshot.h"
#include "plan/plan.h"

namespace sluice::plan {

// What planning reads of the node beside the Snapshot. Changing any of it needs replan_all().
struct NodeFacts {
  std::string zone;                                // label topology.kubernetes.io/zone; empty = unknown
  std::array<std::optional<IpAddress>, 2> node_ip; // by Family
  friend bool operator==(const NodeFacts&, const NodeFacts&) = default;
};

// Works out one Service. `slices` are its slices of both families, in any order. Not served: an empty ServicePlan.
ServicePlan plan_service(const model::Service& service, const std::vector<const model::EndpointSlice*>& slices,
                         const Settings& settings, const NodeFacts& facts);

class Planner {
 public:
  explicit Planner(Settings settings) : settings_(std::move(settings)) {}

  // Works out `services` again and answers which ports differ from before, in order of their keys. `Change`s whose two sides
  // are equal are left out.
  std::vector<Change> update(const model::Snapshot& snapshot, const std::set<ObjectKey>& services);
  // The same for every Service, after the facts about the node changed.
  std::vector<Change> replan_all(const model::Snapshot& snapshot, const NodeFacts& facts);

  [[nodiscard]] const Plan& plan() const { return plan_; }
  [[nodiscard]] const NodeFacts& facts() const { return facts_; }
  // Kept as changes come in, so that asking costs nothing.
  [[nodiscard]] std::size_t endpoints_known(Family family) const { return endpoints_known_[static_cast<std::size_t>(family)]; }

 private:
  void replan(const model::Snapshot& snapshot, const ObjectKey& key, std::vector<Change>& changes);

  Settings settings_;
  NodeFacts facts_;
  Plan plan_;
  std::array<std::size_t, 2> endpoints_known_{};
};

}  // namespace sluice::plan
