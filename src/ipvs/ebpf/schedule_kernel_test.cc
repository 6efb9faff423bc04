// SPDX-License-Identifier: Apache-2.0
// The schedulers where packets will run them: in the kernel. The golden histories are played on the same C in this process
// (schedule_golden_test.cc); here the kernel's run of it must choose the same, and move the cursor and the set the same, on views and
// loads of any kind. That a program loads at all says that the verifier follows every scheduler to its end.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "ipvs/ebpf/host_memory.h"
#include "ipvs/ebpf/view.h"
#include "sys/bpf.h"
// After host_memory.h: it needs what that defines.
#include "bpf/shared/schedule.h"
#include "bpf/test/pick.h"

SLUICE_BPF_OBJECT(pick);

namespace sluice::ipvs::ebpf {
namespace {

constexpr std::uint32_t kLines = 2048;
constexpr std::uint32_t kCells = 8192;
constexpr std::uint32_t kViewLine = 3;

class KernelSchedule : public testing::Test {
 protected:
  void SetUp() override {
    auto object = sys::BpfObject::open(SLUICE_BPF_IMAGE(pick));
    ASSERT_TRUE(object) << object.error().what;
    ASSERT_TRUE(object->set_entries("sluice_line", kLines));
    ASSERT_TRUE(object->set_entries("sluice_cell", kCells));
    const auto loaded = object->load();
    ASSERT_TRUE(loaded) << loaded.error().what;
    auto lines = object->memory<sluice_line>("sluice_line");
    auto cells = object->memory<sluice_cell>("sluice_cell");
    auto pick = object->memory<sluice_test_pick>("sluice_test_pick");
    ASSERT_TRUE(lines && cells && pick);
    memories_.push_back(*std::move(lines));
    memories_.push_back(*std::move(cells));
    memories_.push_back(*std::move(pick));
    lines_ = memories_[0].elements<sluice_line>();
    cells_ = memories_[1].elements<sluice_cell>();
    pick_ = &memories_[2].elements<sluice_test_pick>()[0];
    // This process reads the very same memory.
    host_memory = {lines_, cells_};
    object_.emplace(*std::move(object));
  }

  void run(const char* program) {
    const std::vector<std::byte> packet(64);
    const auto done = sys::run_bpf_program(object_->program(program), packet);
    ASSERT_TRUE(done) << done.error().what;
    ASSERT_EQ(done->verdict, 0U);
  }

  // A view of real servers of any kind, and their loads.
  void deal(std::uint32_t scheduler, std::size_t count) {
    members_.assign(count, {});
    for (std::size_t i = 0; i < count; ++i) {
      ViewMember& member = members_[i];
      member.id = static_cast<std::uint32_t>(1 + (i * 7) % (kCells - 1));
      member.weight = random_() % 4 == 0 ? 0 : static_cast<std::int32_t>(1 + random_() % 50);
      member.last_weight = member.weight;
      member.address_word = static_cast<std::uint32_t>(random_());
      member.port = static_cast<std::uint16_t>(random_());
      sluice_cell& cell = cells_[member.id];
      cell = {};
      cell.weight = member.weight;
      cell.flags = SLUICE_REAL_CONFIGURED | (random_() % 5 == 0 ? SLUICE_REAL_OVERLOADED : 0);
      cell.load = (random_() % 60) * SLUICE_ACTIVE_ONE + random_() % 100 + 60;
    }
    const std::uint32_t flags = static_cast<std::uint32_t>(random_()) & (SLUICE_SCHED_FALLBACK | SLUICE_SCHED_PORT);
    const auto lines = build_view({scheduler, flags, members_}, kViewLine);
    ASSERT_LE(kViewLine + lines.size(), lines_.size());
    std::copy(lines.begin(), lines.end(), lines_.begin() + kViewLine);
  }

  std::mt19937 random_{11};
  std::optional<sys::BpfObject> object_;
  std::vector<sys::BpfMemory> memories_;
  std::span<sluice_line> lines_;
  std::span<sluice_cell> cells_;
  sluice_test_pick* pick_ = nullptr;
  std::vector<ViewMember> members_;
};

TEST_F(KernelSchedule, ChoosesAsThisProcessDoes) {
  int chosen = 0;
  int refused = 0;
  for (std::uint32_t scheduler = 0; scheduler <= SLUICE_SCHED_TWOS; ++scheduler) {
    if (scheduler == SLUICE_SCHED_LBLC || scheduler == SLUICE_SCHED_LBLCR) continue;
    for (const std::size_t count : {0U, 1U, 3U, 16U, 17U, 300U, 5000U}) {
      SCOPED_TRACE(std::string(scheduler_name(scheduler)) + " of " + std::to_string(count));
      deal(scheduler, count);
      if (HasFatalFailure()) return;
      __u64 cursor = bound_cursor(*sluice_view_at(kViewLine), 9);
      for (int round = 0; round < 40; ++round) {
        const sluice_ask ask{static_cast<__u32>(random_()),
                             static_cast<__u32>(random_() % 65536),
                             static_cast<__u32>(random_()),
                             {static_cast<__u32>(random_()), static_cast<__u32>(random_())}};
        *pick_ = {};
        pick_->ask = ask;
        pick_->view = kViewLine;
        pick_->cursor = cursor;
        run("sluice_test_pick_any");
        const std::uint32_t wanted = sluice_pick(kViewLine, &ask, &cursor);
        ASSERT_EQ(pick_->id, wanted) << "round " << round;
        ASSERT_EQ(pick_->cursor, cursor) << "round " << round;
        if (wanted != 0) sluice_count_in(&cells_[wanted], 1);
        ++(wanted == 0 ? refused : chosen);
      }
    }
  }
  EXPECT_GT(chosen, 1000);
  EXPECT_GT(refused, 100);
}

TEST_F(KernelSchedule, RemembersDestinationsAsThisProcessDoes) {
  for (const std::size_t count : {1U, 3U, 17U, 100U}) {
    SCOPED_TRACE(count);
    deal(SLUICE_SCHED_LBLCR, count);
    sluice_destination_set set{};
    std::uint32_t remembered = 0;
    for (std::uint32_t round = 0; round < 200; ++round) {
      SCOPED_TRACE(round);
      *pick_ = {};
      pick_->view = kViewLine;
      pick_->remembered = remembered;
      pick_->now_s = round;
      pick_->expiration_s = 3;
      pick_->set = set;
      run("sluice_test_pick_lblc");
      remembered = sluice_pick_lblc(kViewLine, remembered);
      ASSERT_EQ(pick_->id, remembered);
      run("sluice_test_pick_lblcr");
      const std::uint32_t id = sluice_pick_lblcr(kViewLine, &set, round, 3);
      ASSERT_EQ(pick_->id, id);
      ASSERT_EQ(std::memcmp(&pick_->set, &set, sizeof set), 0);
      for (const std::uint32_t each : {id, remembered})
        if (each != 0 && random_() % 2 == 0) sluice_count_in(&cells_[each], 1);
    }
  }
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
