// SPDX-License-Identifier: Apache-2.0
// The control loop: one thread that owns the Snapshot, the plan and the data planes, and with them time. Sources post
// Updates from any thread; the loop processes all that wait, then programs what changed. Reference:
// docs/update.md.
//
// Nothing is programmed before both Services and EndpointSlices were listed completely: what an earlier process left in
// the kernel keeps serving until then, and after the loop has stopped.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "model/snapshot.h"
#include "plan/planner.h"
#include "sync/family.h"
#include "sync/leftover_sweep.h"
#include "sync/settings.h"
#include "sync/status.h"
#include "sync/update_queue.h"

namespace sluice::sync {

class ControlLoop {
 public:
  // Neither starts threads nor touches the kernel. The families served are those of `data_planes`, which are begun, at
  // most one of each. `mechanisms` are all modes of this program: what they have on this node beside what serves is
  // removed. Mechanisms, `clock`, `metrics` and `health` outlive it.
  ControlLoop(LoopSettings settings, LoopHooks hooks, const Clock& clock, observe::Metrics& metrics,
              observe::Health& health, std::vector<std::unique_ptr<dataplane::DataPlane>> data_planes,
              const std::vector<dataplane::Mechanism*>& mechanisms = {});
  ~ControlLoop();
  ControlLoop(const ControlLoop&) = delete;
  ControlLoop& operator=(const ControlLoop&) = delete;

  // A data plane comes, of a family that is served: it is programmed, serves, and what served before retires
  // (succession.h). On the loop's thread, or before run().
  void begin(std::unique_ptr<dataplane::DataPlane> data_plane);

  // Works until stop(), on the calling thread. Needs the machine's clock: it sleeps.
  void run();
  // The rest may be called from any thread but, unless stated otherwise, not from hooks.

  // Ends run() as soon as a running apply is over. All rules stay. May be called from hooks.
  void stop();
  // Blocks only as long as queueing takes.
  void post(model::Update&& update);
  [[nodiscard]] LoopStatus status() const;

  // Reads back what is live in each family and compares it with the plan, on the loop's thread, after what is due was
  // programmed. `done` is called on the loop's thread; at once, with errors, if the loop has stopped or too many
  // wait already.
  using ComparisonDone = std::function<void(std::vector<FamilyComparison>)>;
  void compare(ComparisonDone done);
  [[nodiscard]] std::future<std::vector<FamilyComparison>> compare();

  // One turn of the loop: takes what was posted, does what is due, and returns when the next turn is due unless
  // something is posted before. run() repeats this; tests call it instead.
  Clock::SteadyTime step();

 private:
  void start();
  void take_in(model::Update&& update);
  void take_in_node();
  void count(const model::Touched& touched, const std::set<model::ObjectKey>& services);
  void distribute(const std::vector<plan::Change>& changes, const model::Touched& touched);
  void sync_families();
  [[nodiscard]] bool all_served() const;
  void sweep();
  void publish(bool synced);
  void publish_pending();
  void reply_to_comparisons();
  void refuse_comparisons(const std::vector<ComparisonDone>& refused, Errc code, const std::string& why) const;
  void call_fatal(std::string why);
  [[nodiscard]] Clock::SteadyTime next_wake() const;

  const LoopSettings settings_;
  const LoopHooks hooks_;
  const Clock& clock_;
  observe::Metrics& metrics_;
  observe::Health& health_;
  const SyncContext context_;

  // Only for the loop's thread.
  bool started_ = false;
  bool planned_ = false;
  bool fatal_called_ = false;
  LeftoverSweep sweep_;
  model::Snapshot snapshot_;
  plan::Planner planner_;
  plan::NodeFacts facts_;
  std::optional<model::Node> node_;  // as last seen; stays when the Node is deleted
  std::vector<std::unique_ptr<ServedFamily>> families_;
  std::set<model::ObjectKey> services_waiting_;
  std::size_t slice_changes_waiting_ = 0;
  std::uint64_t health_checks_generation_ = 0;

  std::atomic<bool> stopping_{false};
  mutable Mutex mutex_;
  std::condition_variable_any wake_;
  UpdateQueue queue_ SLUICE_GUARDED_BY(mutex_);
  std::vector<ComparisonDone> comparisons_ SLUICE_GUARDED_BY(mutex_);
  LoopStatus counts_ SLUICE_GUARDED_BY(mutex_);  // without families and served
};

}  // namespace sluice::sync
