// SPDX-License-Identifier: Apache-2.0
// A virtual server's real servers as packets read them (bpf/shared/view.h): how the lines are built, and what becomes of
// the place that rr and wrr remember when a real server comes, goes or changes. Pure. The tables and the rules are those of
// net/netfilter/ipvs/ip_vs_{rr,wrr,sh,dh,mh}.c, so that the same history gives the same choice.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "bpf/shared/view.h"

namespace sluice::ipvs::ebpf {

// "wlc": SLUICE_SCHED_WLC. Nothing for a name that is no scheduler's.
std::optional<std::uint32_t> scheduler_number(std::string_view name);
std::string_view scheduler_name(std::uint32_t number);

struct ViewMember {
  std::uint32_t id = 0;
  std::int32_t weight = 0;
  std::int32_t last_weight = 0;    // the last one above 0; mh keeps the slots of a real server that is drained
  std::uint32_t address_word = 0;  // sluice_address_word()
  std::uint16_t port = 0;
};

struct ViewPlan {
  std::uint32_t scheduler = 0;          // SLUICE_SCHED_*
  std::uint32_t flags = 0;              // SLUICE_SCHED_FALLBACK, SLUICE_SCHED_PORT
  std::span<const ViewMember> members;  // the newest first, at most SLUICE_REALS_MAX
};

// How many lines it takes.
std::uint32_t view_lines(std::uint32_t scheduler, std::size_t members);
// The lines, for a place that begins at line `first`.
std::vector<sluice_line> build_view(const ViewPlan& plan, std::uint32_t first);

// The cursor of a scheduler that has just been given to a virtual server.
std::uint64_t bound_cursor(const sluice_view& view, std::uint32_t generation);

enum class MemberChange : std::uint8_t { kAdded, kRemoved, kEdited };
// The cursor in `next`, which differs from the view before it in one real server, added at position 0 or removed from or
// edited at `position`.
std::uint64_t moved_cursor(std::uint64_t cursor, const sluice_view& next, MemberChange change, std::uint32_t position,
                           std::uint32_t generation);

}  // namespace sluice::ipvs::ebpf
