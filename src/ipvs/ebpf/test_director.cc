// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/test_director.h"

#include <algorithm>
#include <cstring>

#include "ipvs/ebpf/host_memory.h"
// After it: it needs what host_memory.h defines.
#include "bpf/shared/schedule.h"

namespace sluice::ipvs::ebpf {
namespace {

constexpr std::uint32_t kViewLine = 1;
constexpr std::uint32_t kDestinationExpiration_s = 86400;

}  // namespace

std::uint32_t address_word(const IpAddress& address) {
  const auto& bytes = address.mapped_bytes();
  std::uint32_t words[4];
  for (std::size_t i = 0; i < 4; ++i) {
    words[i] = static_cast<std::uint32_t>(bytes[4 * i] << 24 | bytes[4 * i + 1] << 16 | bytes[4 * i + 2] << 8 |
                                          bytes[4 * i + 3]);
  }
  return sluice_address_word(words, address.family() == Family::kIPv6);
}

TestDirector::TestDirector(std::uint32_t scheduler, std::uint32_t flags) : scheduler_(scheduler), flags_(flags) {
  cursor_ = bound_cursor(publish(), generation_);
}

const sluice_view& TestDirector::publish() {
  lines_ = build_view({scheduler_, flags_, members_}, kViewLine);
  lines_.insert(lines_.begin(), sluice_line{});
  ++generation_;
  return *reinterpret_cast<const sluice_view*>(&lines_[kViewLine]);
}

std::size_t TestDirector::position_of(std::uint32_t id) const {
  return static_cast<std::size_t>(
      std::find_if(members_.begin(), members_.end(), [id](const ViewMember& m) { return m.id == id; }) -
      members_.begin());
}

void TestDirector::set_settings(std::uint32_t id, const TestReal& real) {
  sluice_cell& cell = cells_[id];
  cell.weight = real.weight;
  cell.flags |= SLUICE_REAL_CONFIGURED;
  if (real.weight > 0) last_weights_[id] = real.weight;
  if (cell.upper == real.upper && cell.lower == real.lower) return;
  cell.upper = real.upper;
  cell.lower = real.lower;
  sluice_limits_changed(&cell);
}

std::uint32_t TestDirector::add(const TestReal& real) {
  const auto [entry, fresh] = ids_.try_emplace({real.address, real.port}, static_cast<std::uint32_t>(cells_.size()));
  if (fresh) cells_.push_back({});
  const std::uint32_t id = entry->second;
  set_settings(id, real);
  members_.insert(members_.begin(), {id, real.weight, last_weights_[id], address_word(real.address), real.port});
  const sluice_view& view = publish();
  cursor_ = moved_cursor(cursor_, view, MemberChange::kAdded, 0, generation_);
  return id;
}

void TestDirector::edit(std::uint32_t id, const TestReal& real) {
  const std::size_t position = position_of(id);
  set_settings(id, real);
  members_[position].weight = real.weight;
  members_[position].last_weight = last_weights_[id];
  const sluice_view& view = publish();
  cursor_ = moved_cursor(cursor_, view, MemberChange::kEdited, static_cast<std::uint32_t>(position), generation_);
}

void TestDirector::remove(std::uint32_t id) {
  const std::size_t position = position_of(id);
  members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(position));
  cells_[id].flags &= ~SLUICE_REAL_CONFIGURED;
  const sluice_view& view = publish();
  cursor_ = moved_cursor(cursor_, view, MemberChange::kRemoved, static_cast<std::uint32_t>(position), generation_);
}

void TestDirector::set_scheduler(std::uint32_t scheduler) {
  scheduler_ = scheduler;
  remembered_.clear();
  sets_.clear();
  cursor_ = bound_cursor(publish(), generation_);
}

std::uint32_t TestDirector::choose(const TestFlow& flow) {
  host_memory = {lines_, cells_};
  if (scheduler_ == SLUICE_SCHED_LBLC) {
    std::uint32_t& remembered = remembered_[flow.destination];
    const std::uint32_t id = sluice_pick_lblc(kViewLine, remembered);
    if (id != 0) remembered = id;
    return id;
  }
  if (scheduler_ == SLUICE_SCHED_LBLCR)
    return sluice_pick_lblcr(kViewLine, &sets_[flow.destination], 0, kDestinationExpiration_s);
  const sluice_ask ask{address_word(flow.client), flow.client_port, address_word(flow.destination), {}};
  return sluice_pick(kViewLine, &ask, &cursor_);
}

std::uint32_t TestDirector::open(const TestFlow& flow) {
  std::uint32_t id = 0;
  if (persistent_) {
    std::uint32_t& bound = templates_[Cidr(flow.client, prefix_length_).address()];
    if (bound == 0 || (cells_[bound].flags & SLUICE_REAL_CONFIGURED) == 0) bound = choose(flow);
    id = bound;
  } else {
    id = choose(flow);
  }
  if (id == 0) return 0;
  sluice_count_in(&cells_[id], flow.active ? 1 : 0);
  if (flow.one_packet) sluice_count_out(&cells_[id], flow.active ? 1 : 0);
  return id;
}

void TestDirector::turn_inactive(std::uint32_t id) {
  sluice_count_turn(&cells_[id], 0);
}

void TestDirector::expire(std::uint32_t id, bool active) {
  sluice_count_out(&cells_[id], active ? 1 : 0);
}

}  // namespace sluice::ipvs::ebpf
