// SPDX-License-Identifier: Apache-2.0
// A Planner that follows a Snapshot, and its results as text; for this room's tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "plan/planner.h"
#include "plan/test_objects.h"

namespace sluice::plan::test {

// A Snapshot and the Planner that follows it.
class Follower {
 public:
  explicit Follower(const Settings& settings = kSettings) : planner(settings) {}
  std::vector<Change> apply(model::Update update) {
    return planner.update(snapshot, snapshot.apply(std::move(update)).services);
  }
  std::vector<Change> set(model::Service service) {
    model::Update update;
    update.services.push_back(std::move(service));
    return apply(std::move(update));
  }
  std::vector<Change> set(model::EndpointSlice slice) {
    model::Update update;
    update.slices.push_back(std::move(slice));
    return apply(std::move(update));
  }
  std::vector<Change> remove_service(const std::string& name) {
    model::Update update;
    update.services_removed = {{"shop", name}};
    return apply(std::move(update));
  }
  std::vector<Change> remove_slice(const std::string& name) {
    model::Update update;
    update.slices_removed = {{"shop", name}};
    return apply(std::move(update));
  }
  [[nodiscard]] std::string health_text(const std::string& service) const {
    const auto found = planner.health_checks().find({"shop", service});
    if (found == planner.health_checks().end()) return "none";
    const HealthCheckPlan& check = found->second;
    std::string text = std::to_string(check.port);
    for (const std::size_t family : {0U, 1U})
      text += check.served[family] ? " " + std::to_string(check.local_ready[family]) : " -";
    return text;
  }

  model::Snapshot snapshot;
  Planner planner;
};

// "+shop/web:p 10.1.0.1:80" for a port that appeared, "-..." for one that was removed, "~... before | after" for one
// that changed.
inline std::vector<std::string> texts(const std::vector<Change>& changes) {
  std::vector<std::string> result;
  for (const Change& change : changes) {
    std::string line = (change.before ? (change.after ? "~" : "-") : "+") + change.key().printed_name();
    if (change.key().family == Family::kIPv6) line += "/6";
    if (change.before) line += " [" + reachable_text(*change.before) + "]";
    if (change.after) line += " [" + reachable_text(*change.after) + "]";
    result.push_back(line);
  }
  return result;
}

using Lines = std::vector<std::string>;

}  // namespace sluice::plan::test
