// SPDX-License-Identifier: Apache-2.0
// One address family's way into the kernel: what waits to be programmed, when, by which data plane, and what to do when
// that fails or somebody else interferes. The two families share a plan and nothing else: one that fails does not hold
// up the other.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "dataplane/dataplane.h"
#include "observe/health.h"
#include "observe/metrics.h"
#include "plan/planner.h"
#include "sync/conntrack_cleaner.h"
#include "sync/pending_changes.h"
#include "sync/runner.h"
#include "sync/settings.h"
#include "sync/status.h"

namespace sluice::sync {

// What both families use; outlives them.
struct SyncContext {
  const LoopSettings& settings;
  const LoopHooks& hooks;
  const Clock& clock;
  Clock::WallTime process_start;
  observe::Metrics& metrics;
  observe::Health& health;
};

// Everything but status() and append_served() is for the loop's thread alone.
class FamilySync {
 public:
  FamilySync(const SyncContext& context, std::unique_ptr<dataplane::DataPlane> data_plane);

  [[nodiscard]] Family family() const { return family_; }
  void start();  // the loop runs

  // The plan changed: one call per Change of this family, in order, and changed() after the last of a batch.
  void note(const plan::Change& change);
  // When the slices of `service` changed, in the API server's words; measured against the sync that programs the
  // change.
  void note_triggers(const plan::ObjectKey& service, const std::vector<std::int64_t>& trigger_times_ns);
  void forget_triggers(const plan::ObjectKey& service);
  void changed();
  // The plan is whole for the first time: from now on the kernel is programmed.
  void plan_ready();

  // Does what is due; true if it left the kernel forwarding by the plan. May block in the data plane.
  bool step(const plan::Planner& planner);
  // Deletes stale UDP flows, if the last sync may have left some. Apart from step() so that no family waits for another
  // one's.
  void clean_conntrack();
  [[nodiscard]] std::optional<Clock::SteadyTime> next_wake() const;

  [[nodiscard]] bool waiting() const { return planned_ && (need_full_ || !pending_.empty()); }
  [[nodiscard]] bool synced() const { return synced_; }
  Result<dataplane::Difference> compare(const plan::Planner& planner);

  [[nodiscard]] FamilyStatus status() const;
  void append_served(std::vector<plan::ServicePortPlanPtr>& to) const;

 private:
  void run_checks(const plan::Planner& planner);
  void check_canary(const plan::Planner& planner);
  void tend();
  void note_refusals();
  void check_drift(const plan::Planner& planner);
  void request_full(std::string_view reason);
  [[nodiscard]] bool large_cluster(const plan::Planner& planner) const;
  [[nodiscard]] dataplane::NodePortAddresses node_port_addresses() const;
  [[nodiscard]] dataplane::Changes whole_plan(const plan::Planner& planner,
                                              dataplane::NodePortAddresses addresses) const;
  bool sync(const plan::Planner& planner);
  void succeeded(const dataplane::Changes& changes, const dataplane::ApplyStats& stats, double seconds);
  void failed(const dataplane::Changes& changes, const Error& error, double seconds);
  void observe_programming_latency();
  void record_applied(const dataplane::Changes& changes) SLUICE_REQUIRES(mutex_);
  void set_applied(const plan::ServicePortKey& key, const plan::ServicePortPlanPtr& port) SLUICE_REQUIRES(mutex_);
  [[nodiscard]] NodePortScope node_port_scope() const;

  const SyncContext& context_;
  const std::unique_ptr<dataplane::DataPlane> data_plane_;
  const Family family_;
  BoundedFrequencyRunner runner_;

  bool planned_ = false;
  bool synced_ = false;
  bool need_full_ = true;  // what is live is not known
  PendingChanges pending_;
  std::map<plan::ObjectKey, std::vector<std::int64_t>> triggers_;
  std::size_t triggers_count_ = 0;
  bool batch_changed_ = false;
  std::optional<dataplane::NodePortAddresses> applied_addresses_;
  Clock::SteadyTime last_full_{};
  Clock::SteadyTime next_check_{};
  std::optional<Clock::SteadyTime> next_tend_;
  std::optional<Clock::SteadyTime> next_drift_check_;

  ConntrackCleaner cleaner_;
  PendingChanges unclean_;         // programmed, their flows not yet cleaned up
  bool clean_everything_ = false;  // also flows of ports that did not change
  bool clean_due_ = false;
  bool clean_failure_logged_ = false;
  bool canary_failure_logged_ = false;
  bool tend_failure_logged_ = false;
  std::vector<dataplane::Refusal> refusals_;  // those that were reported

  // Ordered by the keys that stand in the plans themselves.
  struct ByKey {
    using is_transparent = void;
    bool operator()(const plan::ServicePortPlanPtr& a, const plan::ServicePortPlanPtr& b) const {
      return a->key < b->key;
    }
    bool operator()(const plan::ServicePortPlanPtr& a, const plan::ServicePortKey& b) const { return a->key < b; }
    bool operator()(const plan::ServicePortKey& a, const plan::ServicePortPlanPtr& b) const { return a < b->key; }
  };
  mutable Mutex mutex_;
  FamilyStatus status_ SLUICE_GUARDED_BY(mutex_);
  std::set<plan::ServicePortPlanPtr, ByKey> applied_ SLUICE_GUARDED_BY(mutex_);  // what the kernel forwards by
};

}  // namespace sluice::sync
