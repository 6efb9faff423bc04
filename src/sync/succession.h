// SPDX-License-Identifier: Apache-2.0
// Succession: the data planes of one family, one after the other. One serves; its successor, if there is one, is
// programmed beside it; any number of earlier ones retire.
//
//   absent --begin()--> programming --first sync--> serving --the successor's first sync--> retiring --> gone
//
// There is one transition, whatever was there before: nothing, a dead process, kube-proxy, or another plane of this
// process. The plane that comes is begun and programmed while what was there still serves; its first complete sync
// makes it the one that serves, and only then retires what was there. A plane whose first sync does not succeed takes
// nothing over.
//
// Here, and nowhere else, is decided that a plane retires, and when it is gone: with its last connection, or at the
// latest a drain timeout after it retired. What its mode then still has on the node, and what earlier processes left of
// any mode, is up to the sweep (leftover_sweep.h), which gets from in_use() what it must leave alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "sync/leftover_sweep.h"
#include "sync/plane.h"

namespace sluice::sync {

// Everything except status() and append_served() is only for the loop's thread.
class Succession {
 public:
  Succession(const SyncContext& context, Family family);

  // `plane`, of this family, is programmed and then serves. One that was begun and has not yet served gives way to it.
  void begin(std::unique_ptr<dataplane::DataPlane> plane);

  // The plane that serves; before there is one, the one that will. Null while the family is absent.
  [[nodiscard]] const Plane* current() const { return serving_ ? serving_.get() : coming_.get(); }
  [[nodiscard]] Plane* current() { return serving_ ? serving_.get() : coming_.get(); }
  [[nodiscard]] bool serving() const { return serving_ != nullptr; }
  // Adds the modes of all planes that are not yet gone.
  void add_in_use(ModesInUse& modes) const;

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
    std::unique_ptr<dataplane::DataPlane> plane;  // null when it is gone
    Clock::SteadyTime deadline{};                 // of its connections
    bool retired = false;                         // retire() succeeded
    Clock::SteadyTime next{};
    bool failure_reported = false;
  };
  void take_over();
  void retire(std::unique_ptr<dataplane::DataPlane> plane);
  void tend(Retiring& each);
  void tend_failed(Retiring& each, const Error& error);
  void forget_rules(const dataplane::DataPlane& gone) const;
  void publish();

  const SyncContext& context_;
  const Family family_;
  std::shared_ptr<Plane> serving_;  // shared with status(), which other threads call
  std::shared_ptr<Plane> coming_;   // is being programmed; null where there is none
  std::vector<Retiring> retiring_;  // the oldest first

  mutable Mutex mutex_;
  std::shared_ptr<const Plane> shown_ SLUICE_GUARDED_BY(mutex_);
  std::vector<PlaneStage> stages_ SLUICE_GUARDED_BY(mutex_);
};

}  // namespace sluice::sync
