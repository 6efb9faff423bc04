// SPDX-License-Identifier: Apache-2.0
// Plane: one data plane as managed by sync: what waits to be programmed, when and whether in part or in full, what
// the kernel refused, and what to do when programming fails or other programs interfere.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "dataplane/dataplane.h"
#include "observe/health.h"
#include "observe/metrics.h"
#include "plan/planner.h"
#include "sync/pending_changes.h"
#include "sync/refused_ports.h"
#include "sync/runner.h"
#include "sync/settings.h"
#include "sync/status.h"
#include "sync/unremoved.h"

namespace sluice::sync {

// What all families and planes use; outlives them.
struct SyncContext {
  const LoopSettings& settings;
  const LoopHooks& hooks;
  const Clock& clock;
  Clock::WallTime process_start;
  observe::Metrics& metrics;
  observe::Health& health;
};

// Everything except status() and append_served() is only for the loop's thread.
class Plane {
 public:
  Plane(const SyncContext& context, std::unique_ptr<dataplane::DataPlane> data_plane);

  [[nodiscard]] Family family() const { return family_; }
  [[nodiscard]] std::string_view name() const { return data_plane_->name(); }

  // The plan changed: one call per Change of this family, in order, and request() after the last of a batch.
  void note(const plan::Change& change);
  void request();

  // What one turn did.
  struct Turn {
    bool synced = false;                  // the kernel forwards by the whole plan
    bool programmed = false;              // something was written for that; false if nothing differed any more
    bool full = false;                    // it was not known what was live before
    std::vector<plan::Change> changes{};  // by which packets are now forwarded, and were not before
  };
  // Does what is due. May block in the data plane.
  Turn step(const plan::Planner& planner);
  [[nodiscard]] std::optional<Clock::SteadyTime> next_wake() const;

  [[nodiscard]] bool waiting() const { return need_full_ || !pending_.empty(); }
  [[nodiscard]] bool synced() const { return synced_; }
  // Where node ports are served, as of the last sync.
  [[nodiscard]] const std::optional<dataplane::NodePortAddresses>& served_addresses() const {
    return applied_addresses_;
  }
  Result<dataplane::Difference> compare(const plan::Planner& planner);

  // Releases the data plane so that it can retire. Afterwards only status() and append_served() may be called.
  std::unique_ptr<dataplane::DataPlane> release() && { return std::move(data_plane_); }

  [[nodiscard]] FamilyStatus status() const;
  void append_served(std::vector<plan::ServicePortPlanPtr>& to) const;

 private:
  void run_checks(const plan::Planner& planner);
  void check_integrity(const plan::Planner& planner);
  void check_drift(const plan::Planner& planner);
  void note_unremoved(const dataplane::Outcome& outcome, bool full);
  void report_drift(std::string_view text, const dataplane::Difference& difference, std::string_view reason);
  void tend();
  void request_full(std::string_view reason);
  [[nodiscard]] dataplane::NodePortAddresses node_port_addresses() const;
  [[nodiscard]] dataplane::Changes whole_plan(const plan::Planner& planner,
                                              dataplane::NodePortAddresses addresses) const;
  void add_due_refused(const plan::Planner& planner, std::vector<plan::Change>& ports);
  Turn sync(const plan::Planner& planner);
  Turn retry_refused(const plan::Planner& planner);
  void failed(const dataplane::Changes& changes, const Error& error, double seconds);
  Turn succeeded(const dataplane::Changes& changes, const dataplane::Outcome& outcome, double seconds);
  // Returns the changes of ports that were refused and are now served.
  std::vector<plan::Change> note_outcome(const dataplane::Changes& changes, const dataplane::Outcome& outcome);
  void note_refusals(const plan::Planner& planner);
  void note_unmet_requests();
  void note_kernel_work();
  void export_refused();
  void export_rules(const dataplane::ApplyStats& stats);
  void record_applied(const dataplane::Changes& changes) SLUICE_REQUIRES(mutex_);
  void set_applied(const plan::ServicePortKey& key, const plan::ServicePortPlanPtr& port) SLUICE_REQUIRES(mutex_);

  const SyncContext& context_;
  std::unique_ptr<dataplane::DataPlane> data_plane_;
  const Family family_;
  BoundedFrequencyRunner runner_;

  bool synced_ = false;
  bool need_full_ = true;  // what is live is not known
  PendingChanges pending_;
  std::optional<dataplane::NodePortAddresses> applied_addresses_;
  Clock::SteadyTime last_full_{};
  Clock::SteadyTime next_check_{};
  std::optional<Clock::SteadyTime> next_tend_;
  std::optional<Clock::SteadyTime> next_drift_check_;
  RefusedPorts refused_;
  Unremoved unremoved_;
  // What was reported, so that it is reported once.
  bool check_failure_reported_ = false;
  bool tend_failure_reported_ = false;
  std::vector<dataplane::Refusal> refusals_;             // sorted
  std::vector<dataplane::UnmetRequest> unmet_requests_;  // sorted
  std::size_t cleanup_failures_ = 0;

  // Ordered by the keys in the plans themselves.
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
