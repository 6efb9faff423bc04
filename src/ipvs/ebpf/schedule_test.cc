// SPDX-License-Identifier: Apache-2.0
// The golden histories have a handful of real servers. Here are many, with weights that differ wildly, limits that are
// reached, and changes between choices, each choice compared with a list that is walked step by step as the kernel's
// schedulers walk theirs.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/ip_literals.h"
#include "ipvs/ebpf/host_memory.h"
#include "ipvs/ebpf/test_director.h"
// After host_memory.h: it needs what that defines.
#include "bpf/shared/schedule.h"

namespace sluice::ipvs::ebpf {
namespace {

// rr and wrr as ip_vs_rr.c and ip_vs_wrr.c describe them, over the director's own list: no tree, no level left out.
class Walk {
 public:
  Walk(const TestDirector& director, bool weighted) : director_(director), weighted_(weighted) { changed(); }

  // A real server came, went or changed.
  void changed() {
    if (!weighted_) return;
    last_ = 0;
    step_ = 0;
    top_ = 0;
    for (const ViewMember& m : director_.members()) {
      step_ = std::gcd(step_, m.weight);
      top_ = std::max(top_, m.weight);
    }
    if (step_ == 0) step_ = 1;
    top_ = top_ == 0 ? 0 : top_ - (step_ - 1);
    if (level_ > top_ || level_ == 0) {
      level_ = top_;
    } else if (step_ > 1) {
      level_ = level_ / step_ * step_ + 1;
    }
  }
  // The real server that was chosen last goes: the place is the one before it.
  void removing(std::uint32_t id) {
    if (id != last_) return;
    const auto& list = director_.members();
    const std::size_t at = place();
    last_ = at == 0 ? 0 : list[at - 1].id;
  }

  std::uint32_t pick() { return weighted_ ? pick_weighted() : pick_any(); }

 private:
  [[nodiscard]] bool usable(std::uint32_t id, std::int32_t level) const {
    const sluice_cell& cell = director_.cell(id);
    return (cell.flags & SLUICE_REAL_OVERLOADED) == 0 && cell.weight > 0 && cell.weight >= level;
  }
  [[nodiscard]] std::size_t place() const {
    const auto& list = director_.members();
    return static_cast<std::size_t>(
        std::find_if(list.begin(), list.end(), [&](const ViewMember& m) { return m.id == last_; }) - list.begin());
  }

  std::uint32_t pick_any() {
    const auto& list = director_.members();
    const std::size_t from = last_ == 0 ? 0 : place() + 1;
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::uint32_t id = list[(from + i) % list.size()].id;
      if (usable(id, 1)) return last_ = id;
    }
    return 0;
  }

  std::uint32_t pick_weighted() {
    const auto& list = director_.members();
    if (top_ == 0) return 0;
    const std::uint32_t began = last_;
    std::size_t next = last_ == 0 ? 0 : place() + 1;
    bool last_pass = false;
    bool restarted = false;
    std::uint32_t stop = 0;
    while (true) {
      for (; next < list.size(); ++next) {
        if (usable(list[next].id, level_)) return last_ = list[next].id;
        if (list[next].id == stop) {
          last_ = stop;
          return 0;
        }
      }
      level_ -= step_;
      if (level_ <= 0) {
        level_ = top_;
        if (last_pass || began == 0) {
          last_ = 0;
          return 0;
        }
        restarted = true;
      }
      last_pass = level_ <= step_;
      if (last_pass && restarted && began != 0) stop = began;
      next = 0;
    }
  }

  const TestDirector& director_;
  bool weighted_;
  std::uint32_t last_ = 0;  // 0: the head of the list
  std::int32_t level_ = 0, step_ = 1, top_ = 0;
};

struct Play {
  const char* name;
  std::uint32_t scheduler;
  std::size_t reals_max;
  std::int32_t weight_max;
  std::uint32_t limit_max;  // 0: none
  int rounds;
};

TestReal some_real(std::mt19937& random, const Play& play, std::uint32_t number) {
  TestReal real;
  real.address = IpAddress::from_v4(0x0a020000 + number);
  real.port = 80;
  // Many of a kind, some of none.
  const std::int32_t steps[] = {1, 1, 2, 12, play.weight_max};
  const std::int32_t step = steps[random() % 5];
  real.weight = static_cast<std::int32_t>(random() % (static_cast<std::uint32_t>(play.weight_max / step) + 1)) * step;
  if (play.limit_max > 0) real.upper = static_cast<std::uint32_t>(random() % play.limit_max);
  return real;
}

class Player {
 public:
  Player(const Play& play, unsigned seed)
      : play_(play),
        random_(seed),
        director_(play.scheduler, 0),
        walk_(director_, play.scheduler == SLUICE_SCHED_WRR) {}

  void play() {
    for (int round = 0; round < play_.rounds; ++round) {
      SCOPED_TRACE(round);
      const unsigned draw = static_cast<unsigned>(random_() % 20);
      const std::size_t there = director_.members().size();
      if (there == 0 || (draw < 3 && there < play_.reals_max)) {
        add();
      } else if (draw == 3) {
        director_.edit(some_member(),
                       some_real(random_, play_, static_cast<std::uint32_t>(random_() % play_.reals_max)));
        walk_.changed();
      } else if (draw == 4) {
        const std::uint32_t id = some_member();
        walk_.removing(id);
        director_.remove(id);
        walk_.changed();
      } else if (draw < 8 && !open_.empty()) {
        std::swap(open_[random_() % open_.size()], open_.back());
        director_.expire(open_.back(), true);
        open_.pop_back();
      } else {
        const std::uint32_t wanted = walk_.pick();
        const std::uint32_t got = director_.open({ip("10.1.0.1"), 1, ip("10.0.0.1")});
        ASSERT_EQ(got, wanted) << there << " real servers";
        if (got != 0) open_.push_back(got);
        refused_ += got == 0 ? 1 : 0;
      }
    }
  }
  void add() {
    std::uint32_t number = 0;
    const auto& list = director_.members();
    const auto taken = [&](std::uint32_t n) {
      return std::any_of(list.begin(), list.end(),
                         [&](const ViewMember& m) { return m.address_word == 0x0a020000 + n; });
    };
    do number = static_cast<std::uint32_t>(random_() % (2 * play_.reals_max));
    while (taken(number));
    director_.add(some_real(random_, play_, number));
    walk_.changed();
  }
  [[nodiscard]] int refused() const { return refused_; }

 private:
  std::uint32_t some_member() { return director_.members()[random_() % director_.members().size()].id; }

  Play play_;
  std::mt19937 random_;
  TestDirector director_;
  Walk walk_;
  std::vector<std::uint32_t> open_;
  int refused_ = 0;
};

TEST(Schedule, RoundRobinsGoAsTheKernelsListIsWalked) {
  const std::vector<Play> plays{
      {"rr", SLUICE_SCHED_RR, 8, 3, 0, 400},
      {"rr with limits", SLUICE_SCHED_RR, 8, 3, 4, 400},
      {"rr, more than a line", SLUICE_SCHED_RR, 40, 2, 3, 400},
      {"wrr", SLUICE_SCHED_WRR, 8, 12, 0, 400},
      {"wrr with limits", SLUICE_SCHED_WRR, 8, 12, 4, 400},
      {"wrr with few and strict limits", SLUICE_SCHED_WRR, 3, 48, 2, 400},
      {"wrr, more than a line", SLUICE_SCHED_WRR, 40, 60, 3, 400},
      {"wrr, unequal", SLUICE_SCHED_WRR, 20, 5000, 2, 400},
  };
  for (const Play& play : plays) {
    int refused = 0;
    for (unsigned seed = 1; seed <= 40; ++seed) {
      SCOPED_TRACE(std::string(play.name) + ", seed " + std::to_string(seed));
      Player player(play, seed);
      player.play();
      if (HasFatalFailure()) return;
      refused += player.refused();
    }
    if (play.limit_max > 0) {
      EXPECT_GT(refused, 0) << play.name << ": the case that none is left was never met";
    }
  }
}

// A tree of four levels: every position from every other one.
TEST(Schedule, TheNextOneIsFoundInLargeViews) {
  std::mt19937 random(7);
  for (const std::size_t count : {1U, 15U, 16U, 17U, 255U, 256U, 257U, 4096U, 4097U, 65536U}) {
    SCOPED_TRACE(count);
    std::vector<ViewMember> members(count);
    for (std::size_t i = 0; i < count; ++i) {
      const bool heavy = random() % count == 0;
      members[i].id = static_cast<std::uint32_t>(i + 1);
      members[i].weight = heavy ? 100 : static_cast<std::int32_t>(random() % 3);
    }
    std::vector<sluice_line> lines = build_view({SLUICE_SCHED_WRR, 0, members}, 1);
    lines.insert(lines.begin(), sluice_line{});
    host_memory = {lines, {}};
    for (int tries = 0; tries < 500; ++tries) {
      const auto from = static_cast<std::uint32_t>(random() % (count + 1));
      const std::uint32_t w = tries % 2 == 0 ? 100 : 1 + static_cast<std::uint32_t>(random() % 3);
      const auto found = std::find_if(members.begin() + from, members.end(),
                                      [w](const ViewMember& m) { return static_cast<std::uint32_t>(m.weight) >= w; });
      ASSERT_EQ(sluice_next(1, from, w), static_cast<std::uint32_t>(found - members.begin())) << from << " " << w;
    }
  }
}

TEST(Schedule, HashesAreTheKernels) {
  EXPECT_EQ(sluice_hash32(0x0a010001, 8), 174U);
  EXPECT_EQ(sluice_hash32(0xc0a8010a, 8), 248U);
  EXPECT_EQ(sluice_mh_slot(0x0a010001), 2470U);
  EXPECT_EQ(sluice_mh_slot(0x0a010005), 1112U);
  EXPECT_EQ(sluice_mh_slot(0x0a01000c), 3947U);
  EXPECT_EQ(sluice_mh_hash(0x0a021f91, SLUICE_MH_KEY1) % SLUICE_MH_SLOTS, 2030U);
  EXPECT_EQ(sluice_mh_hash(0x0a021f91, SLUICE_MH_KEY2) % (SLUICE_MH_SLOTS - 1) + 1, 1574U);
}

// The kernel draws; what can be said is where each draw leads.
TEST(Schedule, TwosTakesTheLessLoadedOfTwoThatAreDrawnByWeight) {
  const std::vector<ViewMember> members{{1, 3, 3, 0, 0}, {2, 0, 0, 0, 0}, {3, 2, 2, 0, 0}};
  std::vector<sluice_line> lines = build_view({SLUICE_SCHED_TWOS, 0, members}, 1);
  lines.insert(lines.begin(), sluice_line{});
  std::vector<sluice_cell> cells(4);
  for (const ViewMember& m : members) {
    cells[m.id].weight = m.weight;
    cells[m.id].flags = SLUICE_REAL_CONFIGURED;
  }
  host_memory = {lines, cells};
  __u64 cursor = 0;
  const auto pick = [&](std::uint32_t one, std::uint32_t other) {
    const sluice_ask ask{0, 0, 0, {one, other}};
    return sluice_pick(1, &ask, &cursor);
  };
  for (std::uint32_t draw = 0; draw <= 5; ++draw) EXPECT_EQ(pick(draw, draw), draw <= 3 ? 1U : 3U) << draw;
  EXPECT_EQ(pick(6, 6), 1U) << "0 to 5 inclusive";
  EXPECT_EQ(pick(0, 5), 1U) << "a tie is the first one's";
  EXPECT_EQ(pick(5, 0), 3U);
  sluice_count_in(&cells[3], 1);
  EXPECT_EQ(pick(5, 0), 1U);
  sluice_count_in(&cells[1], 1);
  EXPECT_EQ(pick(5, 0), 1U) << "257 of 3 are less than 257 of 2";
  sluice_count_in(&cells[1], 1);
  EXPECT_EQ(pick(5, 0), 3U) << "514 of 3 are more than 257 of 2";
}

// lblcr: the set of a destination loses its most loaded member when it has not changed for a day.
TEST(Schedule, LblcrLetsTheMostLoadedMemberGo) {
  const std::vector<ViewMember> members{{1, 1, 1, 0, 0}, {2, 1, 1, 0, 0}, {3, 1, 1, 0, 0}};
  std::vector<sluice_line> lines = build_view({SLUICE_SCHED_LBLCR, 0, members}, 1);
  lines.insert(lines.begin(), sluice_line{});
  std::vector<sluice_cell> cells(4);
  for (sluice_cell& cell : cells) cell.weight = 1, cell.flags = SLUICE_REAL_CONFIGURED;
  host_memory = {lines, cells};
  sluice_destination_set set{};
  EXPECT_EQ(sluice_pick_lblcr(1, &set, 0, 10), 1U);
  for (int i = 0; i < 2; ++i) sluice_count_in(&cells[1], 1);
  EXPECT_EQ(sluice_pick_lblcr(1, &set, 5, 10), 2U) << "the first one is overrun";
  ASSERT_EQ(set.count, 2U);
  EXPECT_EQ(set.id[0], 2U) << "at the head";
  EXPECT_EQ(sluice_pick_lblcr(1, &set, 15, 10), 2U);
  EXPECT_EQ(set.count, 2U) << "ten seconds are not more than ten";
  EXPECT_EQ(sluice_pick_lblcr(1, &set, 16, 10), 2U);
  EXPECT_EQ(set.count, 1U);
  EXPECT_EQ(set.id[0], 2U);
  EXPECT_EQ(set.changed_s, 16U);
}

TEST(Schedule, AFullSetOfLblcrLetsTheOldestGo) {
  std::vector<ViewMember> members(SLUICE_SET_MAX + 3);
  std::vector<sluice_cell> cells(members.size() + 1);
  for (std::size_t i = 0; i < members.size(); ++i) {
    members[i] = {static_cast<std::uint32_t>(i + 1), 1, 1, 0, 0};
    cells[i + 1].weight = 1;
    cells[i + 1].flags = SLUICE_REAL_CONFIGURED;
  }
  std::vector<sluice_line> lines = build_view({SLUICE_SCHED_LBLCR, 0, members}, 1);
  lines.insert(lines.begin(), sluice_line{});
  host_memory = {lines, cells};
  sluice_destination_set set{};
  for (std::uint32_t wanted = 1; wanted < members.size(); ++wanted) {
    ASSERT_EQ(sluice_pick_lblcr(1, &set, 0, 10), wanted);
    for (int i = 0; i < 2; ++i) sluice_count_in(&cells[wanted], 1);
  }
  EXPECT_EQ(set.count, SLUICE_SET_MAX);
  EXPECT_EQ(set.id[0], members.size() - 1);
  EXPECT_EQ(set.id[SLUICE_SET_MAX - 1], members.size() - SLUICE_SET_MAX);
}

// Every CPU counts in the same cells while limits are compared; nothing may be left over.
TEST(Schedule, LimitsFollowTheKernelsRules) {
  sluice_cell cell{};
  cell.upper = 4;
  const auto overloaded = [&] { return (cell.flags & SLUICE_REAL_OVERLOADED) != 0; };
  for (int i = 0; i < 3; ++i) sluice_count_in(&cell, 0);
  EXPECT_FALSE(overloaded());
  sluice_count_in(&cell, 1);
  EXPECT_TRUE(overloaded()) << "set at the limit, active or not";
  sluice_count_out(&cell, 1);
  EXPECT_TRUE(overloaded()) << "3 is three quarters: still closed";
  sluice_count_out(&cell, 0);
  EXPECT_FALSE(overloaded()) << "2 is below";
  cell.upper = 1;
  sluice_limits_changed(&cell);
  EXPECT_TRUE(overloaded());
  cell.upper = 3;
  cell.lower = 2;
  sluice_limits_changed(&cell);
  EXPECT_TRUE(overloaded()) << "between the two nothing changes";
  cell.lower = 0;
  sluice_limits_changed(&cell);
  EXPECT_FALSE(overloaded()) << "three quarters of 3, rounded up, are 3, and 2 is below";
  cell.upper = 0;
  sluice_limits_changed(&cell);
  EXPECT_FALSE(overloaded());
  EXPECT_EQ(cell.load, 2U);
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
