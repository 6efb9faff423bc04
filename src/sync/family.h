// SPDX-License-Identifier: Apache-2.0
// What belongs to one address family, whichever data plane serves it: when the API server reported a change, the flows
// to endpoints that are gone, its health. Its planes are in the succession. The two families share a plan and
// nothing else: one that fails does not delay the other.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "sync/conntrack_cleaner.h"
#include "sync/plane.h"
#include "sync/succession.h"

namespace sluice::sync {

// Everything except status() and append_served() is only for the loop's thread.
class ServedFamily {
 public:
  ServedFamily(const SyncContext& context, Family family);

  [[nodiscard]] Family family() const { return family_; }
  void start();  // the loop is running

  // The plan changed: one call per Change of this family, in order, and changed() after the last of a batch.
  void note(const plan::Change& change);
  // When the slices of `service` changed, according to the API server; measured against the sync that programs the
  // change.
  void note_triggers(const plan::ObjectKey& service, const std::vector<std::int64_t>& trigger_times_ns);
  void forget_triggers(const plan::ObjectKey& service);
  void changed();
  // The plan is complete for the first time: from now on the kernel is programmed.
  void plan_ready();

  // Does what is due; true if it left the kernel forwarding by the plan. May block in a data plane.
  bool step(const plan::Planner& planner);
  // Deletes stale UDP flows, if the last sync may have left some. Separate from step() so that no family waits for
  // another one's.
  void clean_conntrack();
  [[nodiscard]] std::optional<Clock::SteadyTime> next_wake() const;

  [[nodiscard]] bool waiting() const;
  [[nodiscard]] bool served() const { return planes_.serving(); }
  Result<dataplane::Difference> compare(const plan::Planner& planner);
  [[nodiscard]] Succession& planes() { return planes_; }
  [[nodiscard]] const Succession& planes() const { return planes_; }

  [[nodiscard]] FamilyStatus status() const { return planes_.status(); }
  void append_served(std::vector<plan::ServicePortPlanPtr>& to) const { planes_.append_served(to); }

 private:
  void observe_programming_latency();
  [[nodiscard]] NodePortScope node_port_scope() const;

  const SyncContext& context_;
  const Family family_;
  Succession planes_;

  bool planned_ = false;
  bool batch_changed_ = false;
  std::map<plan::ObjectKey, std::vector<std::int64_t>> triggers_;
  std::size_t triggers_count_ = 0;

  ConntrackCleaner cleaner_;
  PendingChanges unclean_;         // programmed, their flows not yet cleaned up
  bool clean_everything_ = false;  // also flows of ports that did not change
  bool clean_due_ = false;
  std::optional<Clock::SteadyTime> clean_again_;  // after a failure
  bool clean_failure_reported_ = false;
};

}  // namespace sluice::sync
