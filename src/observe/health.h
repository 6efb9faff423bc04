// SPDX-License-Identifier: Apache-2.0
// Is the proxy well? kube-proxy's rule: a family is unhealthy when a change has waited for longer than twice the sync
// period. Fed by the control loop, asked by /healthz, /livez and the health-check node ports. Thread-safe.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ip.h"
#include "base/mutex.h"

namespace sluice::observe {

class Health {
 public:
  Health(const Clock& clock, std::chrono::nanoseconds timeout) : clock_(clock), timeout_(timeout) {}

  void loop_started(Family family);  // from now on the family stands in the answers
  void queued(Family family);        // a change waits; the oldest one counts
  void synced(Family family);        // all that waited is in the kernel
  // Node eligibility: the Node is known, is not being deleted, and carries no taint ToBeDeletedByClusterAutoscaler.
  void set_node_eligible(bool eligible);

  [[nodiscard]] bool healthy() const;  // every family

  struct Answer {
    int status = 200;
    std::string body;  // JSON as kube-proxy 1.36 writes it
  };
  [[nodiscard]] Answer healthz() const;
  [[nodiscard]] Answer livez() const;

 private:
  struct FamilyState {
    Clock::WallTime last_updated{};
    std::optional<Clock::SteadyTime> oldest_queued;
    bool started = false;
  };
  [[nodiscard]] bool family_healthy(const FamilyState& state, Clock::SteadyTime now) const;
  [[nodiscard]] Answer answer(bool with_node) const;

  const Clock& clock_;
  const std::chrono::nanoseconds timeout_;
  mutable Mutex mutex_;
  std::array<FamilyState, 2> families_ SLUICE_GUARDED_BY(mutex_);
  bool node_eligible_ SLUICE_GUARDED_BY(mutex_) = false;
};

}  // namespace sluice::observe
