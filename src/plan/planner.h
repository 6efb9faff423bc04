// SPDX-License-Identifier: Apache-2.0
// Planner: keeps the Plan up to date as the Snapshot changes. It reads only the given Services, and those
// that claim what one of these claims: one changed slice costs what its Service costs, whatever the size of the
// cluster. Pure: no clock, no I/O.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/snapshot.h"
#include "plan/plan.h"

namespace sluice::plan {

// What planning needs of the node beside the Snapshot. Changing any of it needs replan_all().
struct NodeFacts {
  std::string zone;                                 // label topology.kubernetes.io/zone; empty = unknown
  std::array<std::optional<IpAddress>, 2> node_ip;  // by Family
  friend bool operator==(const NodeFacts&, const NodeFacts&) = default;
};

// Plans one Service. `slices` are its slices of both families, in any order. Not served: no ports. What another
// Service has by `claims` is refused; without `claims` there are no other Services.
ServicePlan plan_service(const model::Service& service, const std::vector<const model::EndpointSlice*>& slices,
                         const Settings& settings, const NodeFacts& facts, const Claims* claims = nullptr);

// Every destination of the Service if it were alone; sorted, each once.
std::vector<Claim> claims_of(const model::Service& service, const Settings& settings);

// What a Service's health-check node port reports, in the families that serve the Service.
struct HealthCheckPlan {
  std::uint16_t port = 0;
  std::array<bool, 2> served{};              // by Family: whether the Service has ports of that family
  std::array<std::size_t, 2> local_ready{};  // by Family: see ServicePlan
  friend bool operator==(const HealthCheckPlan&, const HealthCheckPlan&) = default;
};

// To which destinations a traffic policy applies: cluster IPs, or all the others.
enum class Traffic : std::uint8_t { kInternal, kExternal };

class Planner {
 public:
  explicit Planner(Settings settings) : settings_(std::move(settings)) {}

  // Plans `services` again and returns which ports differ from before, of theirs and of Services that win or lose
  // by them, in order of their keys. `Change`s whose two sides are equal are left out.
  std::vector<Change> update(const model::Snapshot& snapshot, const std::set<ObjectKey>& services);
  // The same for every Service, after the facts about the node changed.
  std::vector<Change> replan_all(const model::Snapshot& snapshot, const NodeFacts& facts);

  [[nodiscard]] const Plan& plan() const { return plan_; }
  // What the plan itself refuses to serve, in every mode, in order.
  [[nodiscard]] std::vector<Refusal> refusals(Family family) const;
  [[nodiscard]] const NodeFacts& facts() const { return facts_; }
  // Service ports whose policy for that traffic is Local, that have endpoints elsewhere and none here: their traffic is
  // dropped. The value of kube-proxy's sync_proxy_rules_no_local_endpoints_total. Kept as changes come in, so that
  // asking costs nothing.
  [[nodiscard]] std::size_t no_local_endpoints(Family family, Traffic traffic) const {
    return no_local_endpoints_[static_cast<std::size_t>(family)][static_cast<std::size_t>(traffic)];
  }
  // The Services with a health-check node port. What one of them reports may change without a Change of any port, so
  // their server compares the generation: it grows with each change of this map, and only then.
  [[nodiscard]] const std::map<ObjectKey, HealthCheckPlan>& health_checks() const { return health_checks_; }
  [[nodiscard]] std::uint64_t health_checks_generation() const { return health_checks_generation_; }

 private:
  void note_claims(const model::Snapshot& snapshot, const ObjectKey& key);
  std::vector<Change> replan_services(const model::Snapshot& snapshot, const std::set<ObjectKey>& services);
  void replan(const model::Snapshot& snapshot, const ObjectKey& key, std::vector<Change>& changes);
  void add_change(ServicePortPlanPtr before, ServicePortPlanPtr after, std::vector<Change>& changes);
  void update_health_check(const ObjectKey& key, const ServicePlan& service);

  Settings settings_;
  NodeFacts facts_;
  Plan plan_;
  std::map<ServicePortKey, ServicePortPlanPtr> with_refusals_;
  std::array<std::array<std::size_t, 2>, 2> no_local_endpoints_{};  // by Family and Traffic
  std::map<ObjectKey, HealthCheckPlan> health_checks_;
  std::uint64_t health_checks_generation_ = 0;
};

}  // namespace sluice::plan
