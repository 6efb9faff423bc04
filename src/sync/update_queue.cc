// SPDX-License-Identifier: Apache-2.0
// Watches deliver while the loop programs the kernel, which may take minutes if another program holds the iptables
// lock. In that time the same few slices may change thousands of times; only their last versions matter, so merging
// loses nothing that the kernel would ever have seen.
#include "sync/update_queue.h"

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>

namespace sluice::sync {
namespace {

using model::ObjectKey;
using model::Update;

// Empty Updates count as well: the queue's length is what is bounded.
std::size_t weight(const Update& update) {
  return 1 + update.services.size() + update.services_removed.size() + update.slices.size() +
         update.slices_removed.size();
}

// The pending state of one object: removals come before what is set, as in an Update.
template <typename Object>
struct Latest {
  bool removed = false;
  std::optional<Object> set;
};

template <typename Object>
using LatestByKey = std::unordered_map<ObjectKey, Latest<Object>>;

template <typename Object>
void merge_objects(std::vector<ObjectKey>& removed, std::vector<Object>& set, LatestByKey<Object>& into) {
  for (ObjectKey& key : removed) into[std::move(key)] = {true, std::nullopt};
  for (Object& object : set) {
    Latest<Object>& latest = into[object.key];
    latest.set = std::move(object);
  }
}

template <typename Object>
void list_objects(LatestByKey<Object>& latest, std::vector<ObjectKey>& removed, std::vector<Object>& set) {
  for (auto& [key, object] : latest) {
    if (object.removed) removed.push_back(key);
    if (object.set) set.push_back(*std::move(object.set));
  }
}

}  // namespace

Update merge_updates(std::vector<Update>&& updates) {
  Update merged;
  LatestByKey<model::Service> services;
  LatestByKey<model::EndpointSlice> slices;
  for (Update& update : updates) {
    merge_objects(update.services_removed, update.services, services);
    merge_objects(update.slices_removed, update.slices, slices);
    if (update.node_removed) {
      merged.node_removed = true;
      merged.node.reset();
    }
    if (update.node) merged.node = std::move(update.node);
    merged.services_complete |= update.services_complete;
    merged.slices_complete |= update.slices_complete;
  }
  list_objects(services, merged.services_removed, merged.services);
  list_objects(slices, merged.slices_removed, merged.slices);
  return merged;
}

void UpdateQueue::push(Update&& update) {
  objects_ += weight(update);
  updates_.push_back(std::move(update));
  if (objects_ <= limit_) return;
  if (updates_.size() == 1) {  // a first list: nothing in it is old
    limit_ = 2 * objects_;
    return;
  }
  Update merged = merge_updates(std::exchange(updates_, {}));
  objects_ = weight(merged);
  limit_ = std::max(objects_max_, 2 * objects_);
  updates_.push_back(std::move(merged));
}

std::vector<Update> UpdateQueue::take() {
  objects_ = 0;
  limit_ = objects_max_;
  return std::exchange(updates_, {});
}

}  // namespace sluice::sync
