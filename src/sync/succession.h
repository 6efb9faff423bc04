// SPDX-License-Identifier: Apache-2.0
// Succession: the data planes of one family, one after the other. One serves, or is programmed to; any number of earlier
// ones retire, each until its last connection has ended.
//
//   absent -> programming -> serving -> retiring -> gone
//
// A successor is programmed beside the plane that serves, which goes on until the successor's first sync is complete:
// there is no moment in which nobody serves. Only then does the old one retire. A plane whose process ended is retired
// by nobody; what it left is found by its mechanism once the family is served (leftovers, mechanism.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "sync/plane.h"

namespace sluice::sync {

// Everything except status() and append_served() is only for the loop's thread.
class Succession {
 public:
  // `first` is programmed, and then serves.
  Succession(const SyncContext& context, std::unique_ptr<dataplane::DataPlane> first);

  // Begins: `successor`, of the same family, is programmed and then takes over. One that has not yet taken over gives
  // way to it.
  void begin(std::unique_ptr<dataplane::DataPlane> successor);

  // The plane that serves; before anything has been programmed, the one that will.
  [[nodiscard]] const Plane& current() const { return *serving_; }
  [[nodiscard]] Plane& current() { return *serving_; }

  void note(const plan::Change& change);
  void request();
  // Does what is due in each plane, and moves each to its next stage. Returns what the current one did.
  Plane::Turn step(const plan::Planner& planner);
  [[nodiscard]] std::optional<Clock::SteadyTime> next_wake() const;

  // Of the current plane, with the stages of all.
  [[nodiscard]] FamilyStatus status() const;
  void append_served(std::vector<plan::ServicePortPlanPtr>& to) const;

 private:
  struct Retiring {
    std::unique_ptr<dataplane::DataPlane> plane;
    bool retired = false;  // retire() succeeded
    Clock::SteadyTime next{};
    bool failure_reported = false;
  };
  void retire(std::unique_ptr<dataplane::DataPlane> plane);
  void tend(Retiring& each);
  void publish();

  const SyncContext& context_;
  std::shared_ptr<Plane> serving_;    // shared with status(), which other threads call
  std::shared_ptr<Plane> successor_;  // is being programmed; null where there is none
  std::vector<Retiring> retiring_;    // the oldest first

  mutable Mutex mutex_;
  std::shared_ptr<const Plane> shown_ SLUICE_GUARDED_BY(mutex_);
  std::vector<PlaneStage> stages_ SLUICE_GUARDED_BY(mutex_);
};

}  // namespace sluice::sync
