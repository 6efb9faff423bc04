// SPDX-License-Identifier: Apache-2.0
// A packet must not compute what user space can: the greatest common divisor of a thousand weights, or Maglev's table of
// 4093 slots. So every change of a real server makes a new view, here, and one store publishes it.
// Where the kernel's schedulers keep something between two packets (the place in the list, the level of wrr), it is kept in
// one word beside the view; moved_cursor() says what a change does to it.
#include "ipvs/ebpf/view.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <numeric>

#include "ipvs/ebpf/host_memory.h"
// After it: it needs what host_memory.h defines.
#include "bpf/shared/schedule.h"

namespace sluice::ipvs::ebpf {
namespace {

struct SchedulerName {
  std::uint32_t number;
  std::string_view name;
};

constexpr std::array kSchedulers{
#define X(name, number, text) SchedulerName{number, text},
    SLUICE_SCHEDULERS(X)
#undef X
};

constexpr std::uint32_t lines_for(std::size_t words) {
  return static_cast<std::uint32_t>((words + SLUICE_LINE_WORDS - 1) / SLUICE_LINE_WORDS);
}

// Only schedulers that look for "the next one with at least this weight" get the tree.
bool has_tree(std::uint32_t scheduler) {
  return scheduler == SLUICE_SCHED_RR || scheduler == SLUICE_SCHED_WRR;
}

std::uint32_t slots_of(std::uint32_t scheduler) {
  if (scheduler == SLUICE_SCHED_SH || scheduler == SLUICE_SCHED_DH) return SLUICE_SH_SLOTS;
  return scheduler == SLUICE_SCHED_MH ? SLUICE_MH_SLOTS : 0;
}

std::uint32_t tree_lines(std::size_t members) {
  std::uint32_t all = 0;
  for (std::size_t words = members; words > 0;) {
    const std::uint32_t lines = lines_for(words);
    all += lines;
    words = lines > 1 ? lines : 0;
  }
  return all;
}

// sh fills max(1, weight) buckets with each real server in turn, dh one.
std::vector<std::uint32_t> filled_buckets(const ViewPlan& plan) {
  std::vector<std::uint32_t> slots;
  slots.reserve(SLUICE_SH_SLOTS);
  while (slots.size() < SLUICE_SH_SLOTS) {
    for (const ViewMember& member : plan.members) {
      const bool weighed = plan.scheduler == SLUICE_SCHED_SH && member.weight > 1;
      const std::size_t wanted = weighed ? static_cast<std::size_t>(member.weight) : 1;
      slots.insert(slots.end(), std::min<std::size_t>(wanted, SLUICE_SH_SLOTS - slots.size()), member.id);
    }
  }
  return slots;
}

struct MaglevMember {
  std::uint32_t id = 0;
  std::uint32_t position = 0;
  std::uint32_t skip = 0;
  std::uint32_t turns = 0;  // slots that it claims at each visit
};

std::vector<MaglevMember> maglev_members(std::span<const ViewMember> members) {
  std::int32_t divisor = 0;
  std::int32_t greatest = 0;
  for (const ViewMember& member : members) {
    divisor = std::gcd(divisor, member.last_weight);
    greatest = std::max(greatest, member.last_weight);
  }
  std::vector<MaglevMember> all;
  if (divisor == 0) return all;
  // Weights of more than six bits are made shorter, or a table of 4093 slots would not show the small ones.
  const auto bits = static_cast<unsigned>(std::bit_width(static_cast<std::uint32_t>(greatest / divisor)));
  const unsigned shift = bits > SLUICE_MH_SHIFT_BITS ? bits - SLUICE_MH_SHIFT_BITS : 0;
  for (const ViewMember& member : members) {
    if (member.last_weight <= 0) continue;
    const std::uint32_t x = member.address_word + member.port;
    const auto weight = static_cast<std::uint32_t>(member.last_weight / divisor);
    all.push_back({member.id, sluice_mh_hash(x, SLUICE_MH_KEY1) % SLUICE_MH_SLOTS,
                   sluice_mh_hash(x, SLUICE_MH_KEY2) % (SLUICE_MH_SLOTS - 1) + 1, std::max(weight >> shift, 1U)});
  }
  return all;
}

// Maglev (Eisenbud et al., NSDI 2016, section 3.4), with the kernel's turns for weights.
std::vector<std::uint32_t> maglev_slots(std::span<const ViewMember> members) {
  std::vector<MaglevMember> all = maglev_members(members);
  if (all.empty()) return {};
  std::vector<std::uint32_t> slots(SLUICE_MH_SLOTS, 0);
  std::uint32_t claimed = 0;
  while (true) {
    for (MaglevMember& member : all) {
      for (std::uint32_t turn = 0; turn < member.turns; ++turn) {
        while (slots[member.position] != 0) member.position = (member.position + member.skip) % SLUICE_MH_SLOTS;
        slots[member.position] = member.id;
        if (++claimed == SLUICE_MH_SLOTS) return slots;
      }
    }
  }
}

std::vector<std::uint32_t> slots_for(const ViewPlan& plan) {
  if (plan.members.empty() || slots_of(plan.scheduler) == 0) return {};
  return plan.scheduler == SLUICE_SCHED_MH ? maglev_slots(plan.members) : filled_buckets(plan);
}

// Puts words into lines from `line` on, as many as they need, and returns which line is free then.
std::uint32_t put(std::vector<sluice_line>& lines, std::uint32_t line, std::span<const std::uint32_t> words) {
  for (std::size_t i = 0; i < words.size(); ++i)
    lines[line + i / SLUICE_LINE_WORDS].word[i % SLUICE_LINE_WORDS] = words[i];
  return line + lines_for(words.size());
}

std::vector<std::uint32_t> level_above(std::span<const std::uint32_t> level) {
  std::vector<std::uint32_t> above(lines_for(level.size()), 0);
  for (std::size_t i = 0; i < level.size(); ++i)
    above[i / SLUICE_LINE_WORDS] = std::max(above[i / SLUICE_LINE_WORDS], level[i]);
  return above;
}

void set_steps(sluice_view& view, std::span<const ViewMember> members) {
  std::int32_t divisor = 0;
  std::int32_t greatest = 0;
  for (const ViewMember& member : members) {
    divisor = std::gcd(divisor, member.weight);
    greatest = std::max(greatest, member.weight);
  }
  view.step = divisor == 0 ? 1 : static_cast<std::uint32_t>(divisor);
  view.top = greatest == 0 ? 0 : static_cast<std::uint32_t>(greatest) - (view.step - 1);
}

}  // namespace

std::optional<std::uint32_t> scheduler_number(std::string_view name) {
  for (const SchedulerName& each : kSchedulers) {
    if (each.name == name) return each.number;
  }
  return std::nullopt;
}

std::string_view scheduler_name(std::uint32_t number) {
  for (const SchedulerName& each : kSchedulers) {
    if (each.number == number) return each.name;
  }
  return {};
}

std::uint32_t view_lines(std::uint32_t scheduler, std::size_t members) {
  return 1 + lines_for(members) + (has_tree(scheduler) ? tree_lines(members) : 0) + lines_for(slots_of(scheduler));
}

std::vector<sluice_line> build_view(const ViewPlan& plan, std::uint32_t first) {
  std::vector<sluice_line> lines(view_lines(plan.scheduler, plan.members.size()));
  sluice_view view{};
  view.count = static_cast<std::uint32_t>(plan.members.size());
  view.scheduler = plan.scheduler;
  view.flags = plan.flags;
  view.lines = static_cast<std::uint32_t>(lines.size());
  set_steps(view, plan.members);

  std::vector<std::uint32_t> words;
  for (const ViewMember& member : plan.members) words.push_back(member.id);
  view.ids = first + 1;
  std::uint32_t line = put(lines, 1, words);
  if (has_tree(plan.scheduler) && view.count > 0) {
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<std::uint32_t>(plan.members[i].weight);
    for (std::uint32_t level = 0; level < SLUICE_TREE_LEVELS; ++level) {
      view.tree[level] = first + line;
      line = put(lines, line, words);
      if (words.size() <= SLUICE_LINE_WORDS) break;
      words = level_above(words);
    }
  }
  if (const auto slots = slots_for(plan); !slots.empty()) {
    view.slots = first + line;
    put(lines, line, slots);
  }
  static_assert(sizeof view == sizeof lines[0]);
  std::memcpy(lines.data(), &view, sizeof view);
  return lines;
}

std::uint64_t bound_cursor(const sluice_view& view, std::uint32_t generation) {
  return sluice_cursor_word(0, view.scheduler == SLUICE_SCHED_WRR ? view.top : 0, generation);
}

std::uint64_t moved_cursor(std::uint64_t cursor, const sluice_view& next, MemberChange change, std::uint32_t position,
                           std::uint32_t generation) {
  std::uint32_t start = sluice_cursor_start(cursor);
  std::uint32_t level = sluice_cursor_level(cursor);
  if (next.scheduler == SLUICE_SCHED_WRR) {
    start = 0;
    if (level > next.top || level == 0) {
      level = next.top;
    } else if (next.step > 1) {
      level = level / next.step * next.step + 1;
    }
  } else if (next.scheduler == SLUICE_SCHED_RR) {
    // The list's head stays the head; a real server that was chosen last stays it, or leaves the place before its own.
    if (change == MemberChange::kAdded && start > 0) ++start;
    if (change == MemberChange::kRemoved && position < start) --start;
  }
  return sluice_cursor_word(start, level, generation);
}

}  // namespace sluice::ipvs::ebpf
