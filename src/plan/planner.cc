// SPDX-License-Identifier: Apache-2.0
// In a cluster of 10,000 Services something changes every second, and all but one Service stay the same. So the
// Planner keeps the plan of each Service port behind a pointer. A touched Service is planned again as a whole (a slice
// may feed several ports), compared port by port with what was, and ports that came out equal keep their old object:
// equal pointers mean "nothing to do" for all users of the plan. Sums over the whole plan are kept by subtracting the
// old port and adding the new one.
#include "plan/planner.h"

#include <algorithm>
#include <iterator>
#include <memory>

namespace sluice::plan {
namespace {

bool drops(const ServicePortPlan& port, Traffic traffic) {
  if (traffic == Traffic::kInternal) return port.internal.outside.verdict == Verdict::kDrop;
  return port.externally_accessible && port.external.outside.verdict == Verdict::kDrop;
}

// What the Service claims by its plan: it is served there, or another one is.
std::vector<Claim> claims_made(const ServicePlan& service) {
  std::vector<Claim> claims;
  for (const ServicePortPlanPtr& port : service.ports) {
    for (const Frontend& frontend : port->frontends) claims.push_back(claim_on(frontend, port->key));
    for (const RefusedFrontend& refused : port->refused) {
      if (refused.cause == RefusalCause::kClaimed) claims.push_back(claim_on(refused.frontend, port->key));
    }
  }
  std::sort(claims.begin(), claims.end());
  claims.erase(std::unique(claims.begin(), claims.end()), claims.end());
  return claims;
}

std::vector<Claim> missing_in(const std::vector<Claim>& here, const std::vector<Claim>& wanted) {
  std::vector<Claim> missing;
  std::set_difference(wanted.begin(), wanted.end(), here.begin(), here.end(), std::back_inserter(missing));
  return missing;
}

}  // namespace

void Planner::add_change(ServicePortPlanPtr before, ServicePortPlanPtr after, std::vector<Change>& changes) {
  const auto family = static_cast<std::size_t>(after ? after->key.family : before->key.family);
  if (after && !after->refused.empty()) {
    with_refusals_[after->key] = after;
  } else {
    with_refusals_.erase(after ? after->key : before->key);
  }
  for (const Traffic traffic : {Traffic::kInternal, Traffic::kExternal}) {
    std::size_t& count = no_local_endpoints_[family][static_cast<std::size_t>(traffic)];
    if (before && drops(*before, traffic)) --count;
    if (after && drops(*after, traffic)) ++count;
  }
  changes.push_back({std::move(before), std::move(after)});
}

void Planner::update_health_check(const ObjectKey& key, const ServicePlan& service) {
  if (service.health_check_node_port == 0) {
    if (health_checks_.erase(key) > 0) ++health_checks_generation_;
    return;
  }
  HealthCheckPlan wanted{service.health_check_node_port, {}, service.local_ready};
  for (const ServicePortPlanPtr& port : service.ports) wanted.served[static_cast<std::size_t>(port->key.family)] = true;
  HealthCheckPlan& known = health_checks_[key];
  if (known == wanted) return;
  known = wanted;
  ++health_checks_generation_;
}

void Planner::replan(const model::Snapshot& snapshot, const ObjectKey& key, std::vector<Change>& changes) {
  ServicePlan after;
  if (const model::Service* service = snapshot.service(key); service != nullptr) {
    after = plan_service(*service, snapshot.slices_of(key), settings_, facts_, &plan_.claims);
  }
  const auto known = plan_.services.find(key);
  static const std::vector<ServicePortPlanPtr> kNone;
  const std::vector<ServicePortPlanPtr>& before = known == plan_.services.end() ? kNone : known->second.ports;
  // Both sides are sorted by key, so one walk through them pairs what belongs together.
  auto old_port = before.begin();
  auto new_port = after.ports.begin();
  while (old_port != before.end() || new_port != after.ports.end()) {
    if (new_port == after.ports.end() || (old_port != before.end() && (*old_port)->key < (*new_port)->key)) {
      add_change(*old_port++, nullptr, changes);
    } else if (old_port == before.end() || (*new_port)->key < (*old_port)->key) {
      add_change(nullptr, *new_port++, changes);
    } else {
      if (**old_port == **new_port) {
        *new_port = *old_port;
      } else {
        add_change(*old_port, *new_port, changes);
      }
      ++old_port;
      ++new_port;
    }
  }
  update_health_check(key, after);
  if (!after.ports.empty()) {
    plan_.services.insert_or_assign(key, std::move(after));
  } else if (known != plan_.services.end()) {
    plan_.services.erase(known);
  }
}

void Planner::note_claims(const model::Snapshot& snapshot, const ObjectKey& key) {
  const model::Service* service = snapshot.service(key);
  const std::vector<Claim> after = service != nullptr ? claims_of(*service, settings_) : std::vector<Claim>();
  auto known = plan_.services.find(key);
  const std::vector<Claim> before = known != plan_.services.end() ? claims_made(known->second) : std::vector<Claim>();
  if (before.empty() && after.empty()) return;
  // Every claimant is in the plan from here on, since the claim refers to its key there.
  if (known == plan_.services.end()) known = plan_.services.try_emplace(key).first;
  const Claims::Claimant old{known->second.created, &known->first};
  const Claims::Claimant now{service != nullptr ? service->created : old.created, &known->first};
  if (old == now) {
    plan_.claims.remove(old, missing_in(after, before));
    plan_.claims.add(now, missing_in(before, after));
  } else {
    plan_.claims.remove(old, before);
    plan_.claims.add(now, after);
  }
}

std::vector<Change> Planner::replan_services(const model::Snapshot& snapshot, const std::set<ObjectKey>& services) {
  for (const ObjectKey& key : services) note_claims(snapshot, key);
  std::set<ObjectKey> affected = plan_.claims.take_affected();
  std::vector<Change> changes;
  if (affected.empty()) {
    for (const ObjectKey& key : services) replan(snapshot, key, changes);
    return changes;
  }
  affected.insert(services.begin(), services.end());
  for (const ObjectKey& key : affected) replan(snapshot, key, changes);
  return changes;
}

std::vector<Change> Planner::update(const model::Snapshot& snapshot, const std::set<ObjectKey>& services) {
  return replan_services(snapshot, services);
}

std::vector<Refusal> Planner::refusals(Family family) const {
  std::vector<Refusal> all;
  for (const auto& [key, port] : with_refusals_) {
    if (key.family != family) continue;
    for (const RefusedFrontend& refused : port->refused) all.push_back({key, refused.frontend, refused.reason});
  }
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<Change> Planner::replan_all(const model::Snapshot& snapshot, const NodeFacts& facts) {
  facts_ = facts;
  std::set<ObjectKey> all;
  for (const auto& [key, service] : plan_.services) all.insert(all.end(), key);
  for (const ObjectKey& key : snapshot.service_keys()) all.insert(key);
  return replan_services(snapshot, all);
}

}  // namespace sluice::plan
