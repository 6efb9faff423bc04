// SPDX-License-Identifier: Apache-2.0
// The proxy's health, by kube-proxy's rule: a family is unhealthy when a change has waited for longer than twice the
// sync period. Fed by the control loop, read by /healthz, /livez and the health-check node ports. Thread-safe.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ip.h"
#include "base/mutex.h"

namespace sluice::observe {

class Health {
 public:
  Health(const Clock& clock, std::chrono::nanoseconds timeout) : clock_(clock), timeout_(timeout) {}

  void loop_started(Family family);  // from now on the family is in the responses
  void queued(Family family);        // a change is waiting; the oldest one counts
  void synced(Family family);        // all waiting changes are in the kernel
  // By the Node object. Its node is eligible for new connections from balancers unless it is going away, which
  // `problem` describes; empty = eligible. Until the first call no Node is known, and the node is not eligible either.
  void set_node(std::string problem);
  // Called while no Node is known, for the reason; on the thread that calls healthz().
  void explain_unknown_node(std::function<std::string()> why);

  [[nodiscard]] bool healthy() const;  // every family

  struct Response {
    int status = 200;
    std::string body;  // JSON as kube-proxy 1.36 writes it
  };
  [[nodiscard]] Response healthz() const;
  [[nodiscard]] Response livez() const;

 private:
  struct FamilyState {
    Clock::WallTime last_updated{};
    std::optional<Clock::SteadyTime> oldest_queued;
    bool started = false;
  };
  [[nodiscard]] bool family_healthy(const FamilyState& state, Clock::SteadyTime now) const;
  [[nodiscard]] std::string node_problem() const;
  [[nodiscard]] Response response(const std::string* node_problem) const;

  const Clock& clock_;
  const std::chrono::nanoseconds timeout_;
  mutable Mutex mutex_;
  std::array<FamilyState, 2> families_ SLUICE_GUARDED_BY(mutex_);
  std::optional<std::string> node_problem_ SLUICE_GUARDED_BY(mutex_);  // absent while no Node is known
  std::function<std::string()> why_unknown_ SLUICE_GUARDED_BY(mutex_);
};

}  // namespace sluice::observe
