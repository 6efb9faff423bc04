// SPDX-License-Identifier: Apache-2.0
// Updates queued between the sources and the control loop. Not thread-safe: the loop guards it.
#pragma once

#include <cstddef>
#include <vector>

#include "model/snapshot.h"

namespace sluice::sync {

// Memory is bounded however long the loop is busy: when more than `objects_max` objects wait they are merged, so that
// each object waits at most once, in its newest version; from then on the limit is twice what was left.
class UpdateQueue {
 public:
  static constexpr std::size_t kObjectsMax = 4096;
  explicit UpdateQueue(std::size_t objects_max = kObjectsMax) : objects_max_(objects_max), limit_(objects_max) {}

  void push(model::Update&& update);
  [[nodiscard]] bool empty() const { return updates_.empty(); }
  [[nodiscard]] std::size_t objects_waiting() const { return objects_; }
  // All waiting Updates, in order.
  [[nodiscard]] std::vector<model::Update> take();

 private:
  const std::size_t objects_max_;
  std::size_t limit_;
  std::size_t objects_ = 0;
  std::vector<model::Update> updates_;
};

// One Update with the same effect on a Snapshot as `updates` one after the other. Trigger times of versions in between
// are lost.
model::Update merge_updates(std::vector<model::Update>&& updates);

}  // namespace sluice::sync
