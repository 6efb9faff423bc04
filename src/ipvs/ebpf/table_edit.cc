// SPDX-License-Identifier: Apache-2.0
// The order of stores is what packets rely on: a real server's cell and record are complete before a view names it, a view is
// complete before its virtual server's word leads to it, and that before the key does.
#include "ipvs/ebpf/table_edit.h"

#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <variant>

#include "ipvs/admission.h"
#include "ipvs/ebpf/records.h"

namespace sluice::ipvs::ebpf {
namespace {

// As long as the kernel keeps a real server that was removed: a packet that has just chosen it has passed by then, too.
constexpr std::uint32_t kRemovedKept_s = 120;
constexpr std::size_t kRemovedTries = 16;  // that still have connections, each time that an id is wanted

std::uint32_t now_s() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint32_t>(now.tv_sec);
}

template <typename T>
std::vector<std::uint8_t> bytes_of(const T& record) {
  const auto* begin = reinterpret_cast<const std::uint8_t*>(&record);
  return {begin, begin + sizeof record};
}

// Family, address and port.
std::vector<std::uint8_t> end_bytes(const sluice_real& real) {
  std::vector<std::uint8_t> bytes(real.address, real.address + sizeof real.address);
  bytes.push_back(static_cast<std::uint8_t>(real.port));
  bytes.push_back(static_cast<std::uint8_t>(real.port >> 8));
  bytes.push_back(real.family);
  return bytes;
}

// Nothing points to a real server that was removed.
bool is_over(const sluice_real& real, const sluice_cell& cell, std::uint32_t now) {
  return real.state == SLUICE_REAL_ID_REMOVED && cell.load == 0 && cell.persistent == 0 &&
         now - real.removed_s > kRemovedKept_s;
}

std::uint32_t scheduler_flags(std::uint32_t flags) {
  return flags & (SLUICE_SCHED_FALLBACK | SLUICE_SCHED_PORT);
}

// mh has more slots than real servers, or the last of them would have none.
bool too_many(std::uint32_t scheduler, std::size_t members) {
  const std::size_t most = scheduler == SLUICE_SCHED_MH ? SLUICE_MH_SLOTS : SLUICE_REALS_MAX;
  return members > most;
}

}  // namespace

Result<int> TableEdit::apply(const Change& change) {
  if (indexed_changes_ != tables_->settings().changes) index_anew();
  return std::visit([&](const auto& c) { return this->change(c); }, change);
}

void TableEdit::changed() {
  indexed_changes_ = __atomic_add_fetch(&tables_->settings().changes, 1, __ATOMIC_ACQ_REL);
}

void TableEdit::index_anew() {
  const sluice_settings& settings = tables_->settings();
  free_services_.clear();
  free_reals_.clear();
  removed_.clear();
  removed_order_.clear();
  std::vector<LineBlock> used;
  for (std::uint32_t id = settings.services; id-- > 1;) {
    const sluice_service* service = tables_->services.at(id);
    if (service == nullptr) continue;
    if (service->state == SLUICE_SERVICE_FREE) {
      free_services_.push_back(id);
    } else if (const sluice_view* view = view_of(*service)) {
      used.push_back({sluice_view_line(service->view), view->lines});
    }
  }
  lines_ = LineMemory(std::move(used), settings.lines);
  const std::uint32_t now = now_s();
  for (std::uint32_t id = settings.reals; id-- > 1;) {
    sluice_real* real = tables_->reals.at(id);
    sluice_cell* cell = tables_->cells.at(id);
    if (real == nullptr || cell == nullptr) continue;
    if (is_over(*real, *cell, now)) real->state = SLUICE_REAL_ID_FREE;
    if (real->state == SLUICE_REAL_ID_FREE) free_reals_.push_back(id);
    if (real->state != SLUICE_REAL_ID_REMOVED) continue;
    removed_[{bytes_of(real->service), end_bytes(*real)}] = {id, counted(id)};
    removed_order_.push_back(id);
  }
  std::ranges::sort(removed_order_, {}, [this](std::uint32_t id) { return tables_->reals.at(id)->removed_s; });
  indexed_changes_ = settings.changes;
}

sluice_view* TableEdit::view_of(const sluice_service& service) const {
  return reinterpret_cast<sluice_view*>(tables_->lines.at(sluice_view_line(service.view)));
}

std::uint32_t TableEdit::scheduler_of(const sluice_service& service) const {
  const sluice_view* view = view_of(service);
  return view == nullptr ? std::uint32_t{SLUICE_SCHED_NONE} : view->scheduler;
}

std::vector<std::uint32_t> TableEdit::members(const sluice_service& service) const {
  std::vector<std::uint32_t> ids;
  const sluice_view* view = view_of(service);
  if (view == nullptr) return ids;
  for (std::uint32_t i = 0; i < view->count; ++i) {
    const sluice_line* line = tables_->lines.at(view->ids + i / SLUICE_LINE_WORDS);
    if (line != nullptr) ids.push_back(line->word[i % SLUICE_LINE_WORDS]);
  }
  return ids;
}

sluice_counts TableEdit::counted(std::uint32_t real) const {
  sluice_counts all{};
  const std::uint32_t stripes = tables_->settings().stripes;
  for (std::uint32_t stripe = 0; stripe < stripes; ++stripe) {
    if (const sluice_count* count = tables_->counts.at(real * stripes + stripe)) all = sum(all, count->counts);
  }
  return all;
}

void TableEdit::start_counting(std::uint32_t real) {
  const sluice_counts now = counted(real);
  tables_->reals.at(real)->zeroed = now;
  sluice_estimate& estimate = *tables_->estimates.at(real);
  estimate = {};
  estimate.last = now;
}

std::uint32_t TableEdit::member_with(const sluice_service& service, const RealServerKey& key) const {
  for (const std::uint32_t id : members(service)) {
    const sluice_real* real = tables_->reals.at(id);
    if (real != nullptr && key_in(*real) == key) return id;
  }
  return 0;
}

std::vector<ViewMember> TableEdit::view_members(const std::vector<std::uint32_t>& ids) const {
  std::vector<ViewMember> all;
  all.reserve(ids.size());
  for (const std::uint32_t id : ids) {
    const sluice_real& real = *tables_->reals.at(id);
    const RealServerKey key = key_in(real);
    all.push_back(
        {id, tables_->cells.at(id)->weight, real.last_weight, address_word(real.address, key.family), key.port});
  }
  return all;
}

template <typename Move>
Result<> TableEdit::publish(sluice_service& service, std::uint32_t scheduler, const std::vector<std::uint32_t>& ids,
                            Move move) {
  const LineBlock old{sluice_view_line(service.view), service.view == 0 ? 0 : view_of(service)->lines};
  const std::vector<ViewMember> members = view_members(ids);
  const std::uint32_t first = lines_.take(view_lines(scheduler, members.size()));
  SLUICE_CHECK_OK(tables_->lines.grow_to(lines_.end()));
  tables_->settings().lines = lines_.end();
  const std::vector<sluice_line> lines = build_view({scheduler, scheduler_flags(service.flags), members}, first);
  for (std::uint32_t i = 0; i < lines.size(); ++i) *tables_->lines.at(first + i) = lines[i];

  // Generation 0 is that of a cursor that was never set.
  const std::uint32_t generation = std::max((sluice_view_generation(service.view) + 1) & 0xffffU, 1U);
  __atomic_store_n(&service.view, sluice_view_word(first, generation), __ATOMIC_RELEASE);
  const sluice_view& view = *view_of(service);
  std::uint64_t cursor = __atomic_load_n(&service.cursor, __ATOMIC_ACQUIRE);
  // A packet may have begun in the new view already: then it stays where that one has put it.
  while (sluice_cursor_generation(cursor) != generation &&
         !__atomic_compare_exchange_n(&service.cursor, &cursor, move(cursor, view, generation), false, __ATOMIC_ACQ_REL,
                                      __ATOMIC_ACQUIRE)) {
  }
  if (old.lines != 0) lines_.give_back(old);
  changed();
  return {};
}

Result<std::uint32_t> TableEdit::new_service_id() {
  if (!free_services_.empty()) {
    const std::uint32_t id = free_services_.back();
    free_services_.pop_back();
    return id;
  }
  std::uint32_t& next = tables_->settings().services;
  SLUICE_CHECK_OK(tables_->services.grow_to(next + 1));
  return next++;
}

std::uint32_t TableEdit::take_removed() {
  const std::uint32_t now = now_s();
  for (std::size_t tries = std::min(removed_order_.size(), kRemovedTries); tries > 0; --tries) {
    const std::uint32_t id = removed_order_.front();
    sluice_real& real = *tables_->reals.at(id);
    const sluice_cell& cell = *tables_->cells.at(id);
    if (real.state == SLUICE_REAL_ID_REMOVED && now - real.removed_s <= kRemovedKept_s) return 0;
    removed_order_.pop_front();
    if (real.state != SLUICE_REAL_ID_REMOVED) continue;  // it has come back
    if (is_over(real, cell, now)) {
      removed_.erase({bytes_of(real.service), end_bytes(real)});
      real.state = SLUICE_REAL_ID_FREE;
      return id;
    }
    removed_order_.push_back(id);
  }
  return 0;
}

Result<std::uint32_t> TableEdit::new_real_id() {
  if (!free_reals_.empty()) {
    const std::uint32_t id = free_reals_.back();
    free_reals_.pop_back();
    return id;
  }
  if (const std::uint32_t id = take_removed(); id != 0) return id;
  std::uint32_t& next = tables_->settings().reals;
  SLUICE_CHECK_OK(tables_->cells.grow_to(next + 1));
  SLUICE_CHECK_OK(tables_->reals.grow_to(next + 1));
  SLUICE_CHECK_OK(tables_->estimates.grow_to(next + 1));
  SLUICE_CHECK_OK(tables_->counts.grow_to((next + 1) * tables_->settings().stripes));
  return next++;
}

int refusal_by_empty_table(const Change& change) {
  const VirtualServer* server = settings_in(change);
  if (server == nullptr) return ESRCH;
  if (const int error = refusal_of_names(*server); error != 0) return error;
  if (!std::holds_alternative<AddVirtualServer>(change)) return ESRCH;
  return refusal_of_settings(*server, scheduler_number(server->scheduler).has_value(),
                             persistence_engine_number(server->persistence_engine).has_value());
}

Result<int> TableEdit::change(const AddVirtualServer& c) {
  if (const int error = refusal_of_names(c.server); error != 0) return error;
  const sluice_service_key key = record_of(c.server.key);
  SLUICE_TRY(const std::uint32_t there, tables_->service_id(key));
  if (there != 0) return EEXIST;
  const auto scheduler = scheduler_number(c.server.scheduler);
  const auto engine = persistence_engine_number(c.server.persistence_engine);
  if (const int error = refusal_of_settings(c.server, scheduler.has_value(), engine.has_value()); error != 0)
    return error;
  SLUICE_TRY(const std::uint32_t id, new_service_id());
  sluice_service& service = *tables_->services.at(id);
  const std::uint64_t old_view = service.view;
  const std::uint32_t next = service.generation + 1;
  service = {};
  service.generation = next;
  service.view = old_view & ~std::uint64_t{0xffffffff};  // the next generation, and no lines
  service.key = key;
  set_settings(service, c.server);
  SLUICE_CHECK_OK(publish(service, scheduler.value_or(SLUICE_SCHED_NONE), {},
                          [](std::uint64_t /*cursor*/, const sluice_view& view, std::uint32_t generation) {
                            return bound_cursor(view, generation);
                          }));
  service.state = SLUICE_SERVICE_USED;
  SLUICE_CHECK_OK(tables_->set_service_id(key, id));
  return 0;
}

Result<int> TableEdit::change(const EditVirtualServer& c) {
  if (const int error = refusal_of_names(c.server); error != 0) return error;
  SLUICE_TRY(const std::uint32_t id, tables_->service_id(record_of(c.server.key)));
  if (id == 0) return ESRCH;
  const auto scheduler = scheduler_number(c.server.scheduler);
  const auto engine = persistence_engine_number(c.server.persistence_engine);
  if (const int error = refusal_of_settings(c.server, scheduler.has_value(), engine.has_value()); error != 0)
    return error;
  sluice_service& service = *tables_->services.at(id);
  const std::vector<std::uint32_t> ids = members(service);
  if (too_many(*scheduler, ids.size())) return EINVAL;
  const bool same = scheduler_of(service) == *scheduler;
  set_settings(service, c.server);
  SLUICE_CHECK_OK(publish(
      service, *scheduler, ids, [same](std::uint64_t cursor, const sluice_view& view, std::uint32_t generation) {
        return same ? sluice_cursor_word(sluice_cursor_start(cursor), sluice_cursor_level(cursor), generation)
                    : bound_cursor(view, generation);
      }));
  return 0;
}

// The real server, which no view names any more, takes no packet of a connection; what was counted for it stays with its virtual server.
// A packet that has just chosen it is let through, and counted when the real server comes back.
void TableEdit::drop_member(sluice_service& service, std::uint32_t id) {
  sluice_real& real = *tables_->reals.at(id);
  __atomic_fetch_and(&tables_->cells.at(id)->flags, ~SLUICE_REAL_CONFIGURED, __ATOMIC_ACQ_REL);
  const sluice_counts kept = counted(id);
  service.gone = sum(service.gone, difference(kept, real.zeroed));
  real.state = SLUICE_REAL_ID_REMOVED;
  real.removed_s = now_s();
  removed_[{bytes_of(real.service), end_bytes(real)}] = {id, kept};
  removed_order_.push_back(id);
}

Result<int> TableEdit::change(const RemoveVirtualServer& c) {
  const sluice_service_key key = record_of(c.key);
  SLUICE_TRY(const std::uint32_t id, tables_->service_id(key));
  if (id == 0) return ESRCH;
  sluice_service& service = *tables_->services.at(id);
  SLUICE_CHECK_OK(tables_->remove_service_id(key));
  const std::vector<std::uint32_t> ids = members(service);
  const LineBlock block{sluice_view_line(service.view), view_of(service)->lines};
  // A packet that holds the id finds no view.
  __atomic_store_n(&service.view, sluice_view_word(0, sluice_view_generation(service.view)), __ATOMIC_RELEASE);
  for (const std::uint32_t member : ids) drop_member(service, member);
  service.state = SLUICE_SERVICE_FREE;
  lines_.give_back(block);
  free_services_.push_back(id);
  changed();
  return 0;
}

void TableEdit::set_limits(sluice_cell& cell, const RealServer& server) {
  __atomic_store_n(&cell.weight, server.weight, __ATOMIC_RELEASE);
  if (cell.upper == server.upper_threshold && cell.lower == server.lower_threshold) return;
  cell.upper = server.upper_threshold;
  cell.lower = server.lower_threshold;
  sluice_limits_changed(&cell);
}

Result<int> TableEdit::change(const AddRealServer& c) {
  const sluice_service_key key = record_of(c.to);
  SLUICE_TRY(const std::uint32_t service_id, tables_->service_id(key));
  if (service_id == 0) return ESRCH;
  sluice_service& service = *tables_->services.at(service_id);
  if (const int error = refusal_of_settings(c.to, c.server, false); error != 0) return error;
  if (member_with(service, c.server.key) != 0) return EEXIST;
  if (!may_be_real_server(c.server.key)) return EINVAL;
  std::vector<std::uint32_t> ids = members(service);
  const std::uint32_t scheduler = scheduler_of(service);
  if (too_many(scheduler, ids.size() + 1)) return EINVAL;

  sluice_real wanted{};
  set_settings(wanted, c.server);
  const auto found = removed_.find({bytes_of(key), end_bytes(wanted)});
  std::uint32_t id = 0;
  sluice_counts kept{};
  if (found != removed_.end()) {
    id = found->second.id;
    kept = found->second.kept;
    removed_.erase(found);
  } else {
    SLUICE_TRY(id, new_real_id());
  }
  sluice_real& real = *tables_->reals.at(id);
  sluice_cell& cell = *tables_->cells.at(id);
  if (real.state == SLUICE_REAL_ID_FREE) {
    const std::uint32_t generation = cell.generation;
    cell = {};
    cell.generation = generation + 1;
    real = {};
  }
  // Counters go on only if it still is the virtual server that it was removed from.
  if (real.state == SLUICE_REAL_ID_REMOVED && real.service_id == service_id &&
      real.service_generation == service.generation) {
    service.gone = difference(service.gone, difference(kept, real.zeroed));
  } else {
    start_counting(id);
  }
  set_settings(real, c.server);
  real.last_weight = std::max(c.server.weight, 0);
  real.service = key;
  real.service_id = service_id;
  real.service_generation = service.generation;
  real.state = SLUICE_REAL_ID_USED;
  set_limits(cell, c.server);
  __atomic_fetch_or(&cell.flags, SLUICE_REAL_CONFIGURED, __ATOMIC_ACQ_REL);
  ids.insert(ids.begin(), id);
  SLUICE_CHECK_OK(
      publish(service, scheduler, ids, [](std::uint64_t cursor, const sluice_view& view, std::uint32_t generation) {
        return moved_cursor(cursor, view, MemberChange::kAdded, 0, generation);
      }));
  return 0;
}

Result<int> TableEdit::change(const EditRealServer& c) {
  SLUICE_TRY(const std::uint32_t service_id, tables_->service_id(record_of(c.of)));
  if (service_id == 0) return ESRCH;
  sluice_service& service = *tables_->services.at(service_id);
  if (const int error = refusal_of_settings(c.of, c.server, false); error != 0) return error;
  const std::uint32_t id = member_with(service, c.server.key);
  if (id == 0) return ENOENT;
  set_settings(*tables_->reals.at(id), c.server);
  set_limits(*tables_->cells.at(id), c.server);
  const std::vector<std::uint32_t> ids = members(service);
  const auto position = static_cast<std::uint32_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
  SLUICE_CHECK_OK(publish(service, scheduler_of(service), ids,
                          [position](std::uint64_t cursor, const sluice_view& view, std::uint32_t generation) {
                            return moved_cursor(cursor, view, MemberChange::kEdited, position, generation);
                          }));
  return 0;
}

Result<int> TableEdit::change(const RemoveRealServer& c) {
  SLUICE_TRY(const std::uint32_t service_id, tables_->service_id(record_of(c.from)));
  if (service_id == 0) return ESRCH;
  sluice_service& service = *tables_->services.at(service_id);
  const std::uint32_t id = member_with(service, c.key);
  if (id == 0) return ENOENT;
  std::vector<std::uint32_t> ids = members(service);
  const auto position = static_cast<std::uint32_t>(std::find(ids.begin(), ids.end(), id) - ids.begin());
  ids.erase(ids.begin() + position);
  SLUICE_CHECK_OK(publish(service, scheduler_of(service), ids,
                          [position](std::uint64_t cursor, const sluice_view& view, std::uint32_t generation) {
                            return moved_cursor(cursor, view, MemberChange::kRemoved, position, generation);
                          }));
  drop_member(service, id);
  return 0;
}

Result<> TableEdit::flush() {
  for (std::uint32_t id = 1; id < tables_->settings().services; ++id) {
    const sluice_service* service = tables_->services.at(id);
    if (service == nullptr || service->state != SLUICE_SERVICE_USED) continue;
    SLUICE_CHECK_OK(apply(RemoveVirtualServer{key_in(service->key)}));
  }
  return {};
}

}  // namespace sluice::ipvs::ebpf
