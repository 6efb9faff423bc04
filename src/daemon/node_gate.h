// SPDX-License-Identifier: Apache-2.0
// Between a source and the control loop, at the start: the loop cannot be made before the node's addresses are known,
// and those come from the source. The gate keeps updates until then, and passes them on in order.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "model/snapshot.h"

namespace sluice::daemon {

class NodeGate {
 public:
  using Post = std::function<void(model::Update&&)>;

  // From the source; on any thread.
  void pass(model::Update&& update);

  struct Wanted {
    std::string what;  // as text: "an address of Node \"a\""
    std::chrono::seconds longest;
    // The first complete list of Services and slices ends the wait as well: files without a Node will not bring one
    // later.
    bool until_complete = false;
    std::function<bool(const model::Node&)> enough;
  };
  // Waits until the Node is known and complete enough, give_up() is called, or the time is over; returns the Node as
  // last reported.
  std::optional<model::Node> wait(const Wanted& wanted);
  // What wait() waits for now, and since when; on any thread.
  struct Waiting {
    std::string what;
    Clock::WallTime since;
  };
  [[nodiscard]] std::optional<Waiting> waiting() const;

  void give_up();  // the process must end
  [[nodiscard]] bool given_up() const;
  // From now on updates go to `post`, first those that were kept.
  void open(Post post);
  void close();  // later updates are dropped; post() is not called again after this returns

 private:
  mutable Mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<model::Update> kept_ SLUICE_GUARDED_BY(mutex_);
  std::optional<model::Node> node_ SLUICE_GUARDED_BY(mutex_);
  Post post_ SLUICE_GUARDED_BY(mutex_);
  std::optional<Waiting> waiting_ SLUICE_GUARDED_BY(mutex_);
  bool services_complete_ SLUICE_GUARDED_BY(mutex_) = false;
  bool slices_complete_ SLUICE_GUARDED_BY(mutex_) = false;
  bool given_up_ SLUICE_GUARDED_BY(mutex_) = false;
  bool closed_ SLUICE_GUARDED_BY(mutex_) = false;
};

}  // namespace sluice::daemon
