// SPDX-License-Identifier: Apache-2.0
// Snapshot: all Services, EndpointSlices and this node's Node as last reported. Sources send Updates; applying one
// costs what it carries, and returns which Services it touched, so that planning looks only at those.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/object.h"

namespace sluice::model {

// One batch from a source. An object that is set replaces the one of the same key; removing an unknown one does
// nothing. Removals are applied before what is set, so an object that was deleted and created again may be on both
// sides; one that was created and deleted within the batch must be only among the removed.
struct Update {
  std::vector<Service> services;
  std::vector<ObjectKey> services_removed;
  std::vector<EndpointSlice> slices;
  std::vector<ObjectKey> slices_removed;
  std::optional<Node> node;
  bool node_removed = false;
  // The source has delivered its first complete list of that kind (with this batch or before it).
  bool services_complete = false;
  bool slices_complete = false;
  [[nodiscard]] bool empty() const {
    return services.empty() && services_removed.empty() && slices.empty() && slices_removed.empty() && !node &&
           !node_removed && !services_complete && !slices_complete;
  }
};

// What applying an Update changed.
struct Touched {
  std::set<ObjectKey> services;  // Services that changed, or a slice of theirs did; also names without a Service
  std::set<ObjectKey> services_by_slice;  // the part of `services` for which a slice changed
  // last_change_trigger_ns of the slices that changed, by Service. A slice without the annotation adds none.
  std::unordered_map<ObjectKey, std::vector<std::int64_t>> trigger_times;
  // Services that lost a slice: the annotation says when that slice was last written, not when it was deleted, so
  // kube-proxy measures nothing then. Their times that were collected before this Touched are void; merge() drops
  // them.
  std::set<ObjectKey> trigger_times_void;
  bool node = false;               // the Node appeared, changed or was deleted
  std::size_t service_events = 0;  // objects that the Updates carried, whether they changed anything or not
  std::size_t slice_events = 0;
  // Adds what a later apply() touched.
  void merge(Touched&& later);
};

class Snapshot {
 public:
  // An object that equals the known one touches nothing.
  Touched apply(Update&& update);

  [[nodiscard]] const Service* service(const ObjectKey& key) const;
  // The slices of one Service in order of their names; both families.
  [[nodiscard]] std::vector<const EndpointSlice*> slices_of(const ObjectKey& service) const;
  [[nodiscard]] const std::optional<Node>& node() const { return node_; }
  [[nodiscard]] std::vector<ObjectKey> service_keys() const;  // sorted
  [[nodiscard]] bool complete() const { return services_complete_ && slices_complete_; }
  [[nodiscard]] std::size_t services_count() const { return services_.size(); }
  [[nodiscard]] std::size_t slices_count() const { return slices_.size(); }

 private:
  void set_service(Service&& service, Touched& touched);
  void set_slice(EndpointSlice&& slice, Touched& touched);
  void remove_slice(const ObjectKey& key, Touched& touched);
  void index_slice(const EndpointSlice& slice, Touched& touched);
  void unindex_slice(const EndpointSlice& slice, Touched& touched);

  std::unordered_map<ObjectKey, Service> services_;
  std::unordered_map<ObjectKey, EndpointSlice> slices_;
  std::unordered_map<ObjectKey, std::set<std::string>> slice_names_;  // Service -> names of its slices; no empty sets
  std::optional<Node> node_;
  bool services_complete_ = false;
  bool slices_complete_ = false;
};

}  // namespace sluice::model
