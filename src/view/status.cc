// SPDX-License-Identifier: Apache-2.0
#include "view/status.h"

#include <algorithm>
#include <map>

namespace sluice::view {
namespace {

FamilyView family_view(const sync::FamilyStatus& status, const std::vector<sync::FamilyComparison>& comparisons) {
  FamilyView view;
  view.status = status;
  const auto found = std::find_if(comparisons.begin(), comparisons.end(),
                                  [&](const sync::FamilyComparison& each) { return each.family == status.family; });
  if (found == comparisons.end()) return view;
  if (found->difference) {
    view.compared = true;
    view.difference = *found->difference;
  } else {
    view.compare_error = found->difference.error().what;
  }
  return view;
}

// By Service port: with many refusals a search of all for every port would be quadratic.
std::map<plan::ServicePortKey, std::vector<dataplane::Refusal>> refusals_by_port(const sync::LoopStatus& loop) {
  std::map<plan::ServicePortKey, std::vector<dataplane::Refusal>> by_port;
  for (const sync::FamilyStatus& family : loop.families) {
    for (const dataplane::Refusal& refusal : family.refusals) by_port[refusal.port].push_back(refusal);
  }
  return by_port;
}

}  // namespace

Status starting_status(ProcessFacts process, std::vector<Wait> waits) {
  Status status;
  status.process = std::move(process);
  status.waits = std::move(waits);
  return status;
}

Status make_status(ProcessFacts process, std::vector<Wait> waits, const sync::LoopStatus& loop,
                   const std::vector<sync::FamilyComparison>& comparisons) {
  Status status = starting_status(std::move(process), std::move(waits));
  status.started = true;
  status.lists_complete = loop.lists_complete;
  status.services = loop.services;
  status.slices = loop.slices;
  status.zone = loop.zone;
  for (const sync::FamilyStatus& family : loop.families) status.families.push_back(family_view(family, comparisons));
  const auto refusals = refusals_by_port(loop);
  std::map<plan::ServicePortKey, std::string> by_kernel;
  for (const sync::FamilyStatus& family : loop.families) {
    for (const sync::RefusedPortStatus& each : family.refused_ports) by_kernel[each.port] = each.reason;
  }
  status.served.reserve(loop.served.size());
  for (const plan::ServicePortPlanPtr& port : loop.served) {
    const auto refused = refusals.find(port->key);
    status.served.push_back(
        served_port(*port, refused == refusals.end() ? std::span<const dataplane::Refusal>() : refused->second));
    if (const auto reason = by_kernel.find(port->key); reason != by_kernel.end())
      status.served.back().refused = reason->second;
  }
  return status;
}

bool serves_as_wanted(const FamilyView& family) {
  return family.status.synced && family.status.last_error.empty() && family.status.refused_ports.empty() &&
         family.compared && family.difference.empty();
}

bool serves_as_wanted(const Status& status) {
  return status.lists_complete && !status.families.empty() &&
         std::all_of(status.families.begin(), status.families.end(),
                     [](const FamilyView& family) { return serves_as_wanted(family); });
}

}  // namespace sluice::view
