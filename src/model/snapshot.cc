// SPDX-License-Identifier: Apache-2.0
// A Service and its endpoints arrive separately: the Service object has addresses and ports, EndpointSlices (at most
// 100 endpoints each by default) name the pods, and only the slice's label kubernetes.io/service-name ties them
// together. Either may come first, a slice may outlive its Service, and an edited label moves a slice from one Service
// to another. The Snapshot keeps both sides and an index from Service to slices, so that what a change touches
// is found from the change alone: in a cluster of 10,000 Services a changed slice costs two hash lookups and the
// comparison of that slice.
#include "model/snapshot.h"

#include <algorithm>
#include <utility>

namespace sluice::model {
namespace {

ObjectKey owner_of(const EndpointSlice& slice) {
  return ObjectKey{slice.key.namespace_name, slice.service_name};
}

}  // namespace

void Touched::merge(Touched&& later) {
  services.merge(later.services);
  services_by_slice.merge(later.services_by_slice);
  for (const ObjectKey& service : later.trigger_times_void) trigger_times.erase(service);
  trigger_times_void.merge(later.trigger_times_void);
  for (auto& [service, times] : later.trigger_times) {
    std::vector<std::int64_t>& own = trigger_times[service];
    own.insert(own.end(), times.begin(), times.end());
  }
  node = node || later.node;
  service_events += later.service_events;
  slice_events += later.slice_events;
}

void Snapshot::index_slice(const EndpointSlice& slice, Touched& touched) {
  if (slice.service_name.empty()) return;
  const ObjectKey owner = owner_of(slice);
  slice_names_[owner].insert(slice.key.name);
  touched.services.insert(owner);
  touched.services_by_slice.insert(owner);
  if (slice.last_change_trigger_ns != 0) touched.trigger_times[owner].push_back(slice.last_change_trigger_ns);
}

void Snapshot::unindex_slice(const EndpointSlice& slice, Touched& touched) {
  if (slice.service_name.empty()) return;
  const ObjectKey owner = owner_of(slice);
  if (const auto names = slice_names_.find(owner); names != slice_names_.end()) {
    names->second.erase(slice.key.name);
    if (names->second.empty()) slice_names_.erase(names);
  }
  touched.services.insert(owner);
  touched.services_by_slice.insert(owner);
  touched.trigger_times.erase(owner);
  touched.trigger_times_void.insert(owner);
}

void Snapshot::set_service(Service&& service, Touched& touched) {
  const auto [known, inserted] = services_.try_emplace(service.key);
  if (!inserted && known->second == service) return;
  touched.services.insert(service.key);
  known->second = std::move(service);
}

void Snapshot::set_slice(EndpointSlice&& slice, Touched& touched) {
  const auto [known, inserted] = slices_.try_emplace(slice.key);
  if (!inserted) {
    if (known->second == slice) return;
    if (known->second.service_name != slice.service_name) unindex_slice(known->second, touched);
  }
  known->second = std::move(slice);
  // Decoders grow these one by one, and slices are most of our data: 100,000 endpoints of 100 bytes each.
  known->second.endpoints.shrink_to_fit();
  known->second.ports.shrink_to_fit();
  index_slice(known->second, touched);
}

void Snapshot::remove_slice(const ObjectKey& key, Touched& touched) {
  const auto known = slices_.find(key);
  if (known == slices_.end()) return;
  unindex_slice(known->second, touched);
  slices_.erase(known);
}

Touched Snapshot::apply(Update&& update) {
  Touched touched;
  touched.service_events = update.services.size() + update.services_removed.size();
  touched.slice_events = update.slices.size() + update.slices_removed.size();
  for (const ObjectKey& key : update.services_removed) {
    if (services_.erase(key) > 0) touched.services.insert(key);
  }
  for (Service& service : update.services) set_service(std::move(service), touched);
  for (const ObjectKey& key : update.slices_removed) remove_slice(key, touched);
  for (EndpointSlice& slice : update.slices) set_slice(std::move(slice), touched);
  if (update.node_removed && node_) {
    node_.reset();
    touched.node = true;
  }
  if (update.node && node_ != update.node) {
    node_ = std::move(update.node);
    touched.node = true;
  }
  services_complete_ = services_complete_ || update.services_complete;
  slices_complete_ = slices_complete_ || update.slices_complete;
  return touched;
}

const Service* Snapshot::service(const ObjectKey& key) const {
  const auto known = services_.find(key);
  return known == services_.end() ? nullptr : &known->second;
}

std::vector<const EndpointSlice*> Snapshot::slices_of(const ObjectKey& service) const {
  std::vector<const EndpointSlice*> slices;
  const auto names = slice_names_.find(service);
  if (names == slice_names_.end()) return slices;
  slices.reserve(names->second.size());
  ObjectKey key{service.namespace_name, {}};
  for (const std::string& name : names->second) {
    key.name = name;
    slices.push_back(&slices_.at(key));
  }
  return slices;
}

std::vector<ObjectKey> Snapshot::service_keys() const {
  std::vector<ObjectKey> keys;
  keys.reserve(services_.size());
  for (const auto& [key, service] : services_) keys.push_back(key);
  std::sort(keys.begin(), keys.end());
  return keys;
}

}  // namespace sluice::model
