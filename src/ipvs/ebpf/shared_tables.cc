// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/shared_tables.h"

#include "base/mutex.h"
#include "sys/bpf_place.h"

namespace sluice::ipvs::ebpf {
namespace {

// By the namespace's number, which is never used twice.
struct KnownTables {
  Mutex mutex;
  std::map<std::uint64_t, std::weak_ptr<SharedTables>> all SLUICE_GUARDED_BY(mutex);
};

KnownTables& known_tables() {
  static KnownTables known;
  return known;
}

}  // namespace

Result<std::shared_ptr<SharedTables>> SharedTables::here() {
  SLUICE_TRY(const std::uint64_t number, sys::netns_cookie());
  KnownTables& known = known_tables();
  const MutexLock lock(known.mutex);
  std::erase_if(known.all, [](const auto& each) { return each.second.expired(); });
  std::weak_ptr<SharedTables>& there = known.all[number];
  std::shared_ptr<SharedTables> shared = there.lock();
  if (!shared) {
    shared = std::make_shared<SharedTables>();
    there = shared;
  }
  return shared;
}

Result<bool> SharedTables::links_changed() {
  if (watch_) return watch_->take_changes();
  SLUICE_TRY(watch_, sys::LinkWatch::open());
  return true;
}

void SharedTables::forget() {
  lost = lost || tables.has_value();
  edit.reset();
  tables.reset();
  watch_.reset();
  hooked.clear();
}

}  // namespace sluice::ipvs::ebpf
