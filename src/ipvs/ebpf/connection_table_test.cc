// SPDX-License-Identifier: Apache-2.0
// The connection table under threads that enter, find and remove the same few connections at once, as CPUs would. At no
// moment may two entries be one connection, or one be half there; and at the end nothing may be left, in a chain or outside the lists.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "bpf/shared/connection.h"

namespace {

struct HostTable {
  HostTable(std::uint32_t count, std::uint32_t bucket_count)
      : entries(count + 1), buckets(bucket_count), pool{0x5eed, 1, count + 1, bucket_count, 0, {}} {}
  std::vector<sluice_connection> entries;
  std::vector<__u64> buckets;
  std::vector<__u64> free_lists = std::vector<__u64>(SLUICE_FREE_LISTS);
  sluice_pool pool;
};

HostTable* table = nullptr;  // of the test that runs

sluice_connection* sluice_connection_at(__u32 id) {
  return id < table->entries.size() ? &table->entries[id] : nullptr;
}
__u64* sluice_bucket_at(__u32 bucket) {
  return bucket < table->buckets.size() ? &table->buckets[bucket] : nullptr;
}
__u64* sluice_free_at(__u32 list) {
  return list < table->free_lists.size() ? &table->free_lists[list] : nullptr;
}
sluice_pool* sluice_pool_here() {
  return &table->pool;
}

}  // namespace

// After these: it needs them.
#include "bpf/shared/connection_table.h"

namespace sluice::ipvs::ebpf {
namespace {

sluice_flow flow(std::uint32_t number, bool reply) {
  sluice_flow flow{};
  flow.source[15] = reply ? 2 : 1;
  flow.target[15] = reply ? 1 : 2;
  std::memcpy(&flow.source[0], &number, sizeof number);
  flow.source_port = static_cast<__be16>(number);
  flow.protocol = 6;
  flow.family = 4;
  return flow;
}

std::uint32_t found(const sluice_flow& flow) {
  sluice_search search{};
  return sluice_find(&flow, &search);
}

// An entry, filled and FRESH; 0 where there is none.
std::uint32_t fresh(std::uint32_t number, std::uint32_t list) {
  const std::uint32_t id = sluice_take_free(list);
  if (id == 0) return 0;
  sluice_connection& entry = *sluice_connection_at(id);
  const __u64 old = SLUICE_READ(entry.word);
  EXPECT_EQ(sluice_phase(old), __u32{SLUICE_PHASE_FREE});
  const sluice_flow request = flow(number, false);
  const sluice_flow reply = flow(number, true);
  sluice_set_flow(&entry.request, &request);
  sluice_set_flow(&entry.reply, &reply);
  SLUICE_WRITE(entry.word, sluice_connection_word(sluice_generation(old) + 1, 0, 0, SLUICE_PHASE_FRESH));
  return id;
}

void set_phase(std::uint32_t id, std::uint32_t phase) {
  sluice_connection& entry = *sluice_connection_at(id);
  SLUICE_WRITE(entry.word, (SLUICE_READ(entry.word) & ~__u64{0xff}) | phase);
}

bool move_phase(std::uint32_t id, std::uint32_t from, std::uint32_t to) {
  sluice_connection& entry = *sluice_connection_at(id);
  const __u64 word = SLUICE_READ(entry.word);
  return sluice_phase(word) == from &&
         __sync_val_compare_and_swap(&entry.word, word, (word & ~__u64{0xff}) | to) == word;
}

// Here a thread that takes out may be put to sleep meanwhile, so it is tried until it succeeds.
void leave(std::uint32_t id, std::uint32_t list) {
  while (!sluice_leave(id)) std::this_thread::yield();
  set_phase(id, SLUICE_PHASE_FREE);
  while (!sluice_give_back(id, list)) std::this_thread::yield();
}

// LIVE entries with these flows besides `id`.
int others_with(std::uint32_t number, std::uint32_t id) {
  int count = 0;
  const sluice_flow wanted = flow(number, false);
  for (std::uint32_t other = 1; other < table->entries.size(); ++other) {
    sluice_connection& entry = table->entries[other];
    const __u64 word = SLUICE_READ(entry.word);
    const bool same = sluice_same_flow(&entry.request, &wanted) != 0;
    if (other != id && same && sluice_phase(word) == SLUICE_PHASE_LIVE && SLUICE_READ(entry.word) == word) ++count;
  }
  return count;
}

std::size_t free_entries() {
  std::set<std::uint32_t> ids;
  for (std::uint32_t id = table->pool.fresh; id < table->pool.end; ++id) ids.insert(id);
  for (const __u64 list : table->free_lists) {
    for (auto id = static_cast<std::uint32_t>(list); id != 0; id = table->entries[id].next[0]) {
      EXPECT_TRUE(ids.insert(id).second) << "entry " << id << " is free twice";
    }
  }
  return ids.size();
}

class ConnectionTable : public testing::Test {
 protected:
  void make(std::uint32_t entries, std::uint32_t buckets) {
    table_.emplace_back(std::make_unique<HostTable>(entries, buckets));
    table = table_.back().get();
  }
  void TearDown() override { table = nullptr; }
  std::vector<std::unique_ptr<HostTable>> table_;
};

TEST_F(ConnectionTable, AnEntryIsFoundByBothItsFlowsAndByNoOther) {
  make(8, 4);
  const std::uint32_t id = fresh(7, 0);
  ASSERT_NE(id, 0U);
  EXPECT_EQ(found(flow(7, false)), 0U);
  EXPECT_EQ(sluice_enter(id), SLUICE_LINK_ENTERED);
  EXPECT_EQ(found(flow(7, false)), id << 1);
  EXPECT_EQ(found(flow(7, true)), id << 1 | 1);
  EXPECT_EQ(found(flow(8, false)), 0U);
  sluice_flow other = flow(7, false);
  other.family = 6;
  EXPECT_EQ(found(other), 0U);
  set_phase(id, SLUICE_PHASE_DYING);
  EXPECT_EQ(found(flow(7, false)), 0U) << "for packets it is gone";
  EXPECT_TRUE(sluice_leave(id));
  EXPECT_EQ(found(flow(7, true)), 0U);
}

TEST_F(ConnectionTable, ASecondEntryWithOneOfItsFlowsDoesNotEnter) {
  make(8, 4);
  const std::uint32_t first = fresh(7, 0);
  ASSERT_EQ(sluice_enter(first), SLUICE_LINK_ENTERED);
  const std::uint32_t same = fresh(7, 0);
  EXPECT_EQ(sluice_enter(same), first << 1) << "requests are looked at first";
  sluice_connection_at(same)->request = flow(8, false);
  EXPECT_EQ(sluice_enter(same), first << 1 | 1) << "its reply";
  set_phase(same, SLUICE_PHASE_DYING);
  EXPECT_EQ(found(flow(8, false)), 0U);
  leave(same, 0);
  const std::uint32_t third = fresh(7, 0);
  EXPECT_EQ(third, same) << "taken again";
  sluice_connection_at(third)->reply = flow(8, true);
  EXPECT_EQ(sluice_enter(third), first << 1) << "its request";
  EXPECT_EQ(found(flow(8, true)), 0U);
}

TEST_F(ConnectionTable, EntriesAreTakenOutOfAnyPlaceOfAChain) {
  for (std::uint32_t gone = 0; gone < 5; ++gone) {
    make(8, 1);
    std::vector<std::uint32_t> ids;
    for (std::uint32_t n = 0; n < 5; ++n) {
      ids.push_back(fresh(n, 0));
      ASSERT_EQ(sluice_enter(ids.back()), SLUICE_LINK_ENTERED);
    }
    set_phase(ids[gone], SLUICE_PHASE_DYING);
    ASSERT_TRUE(sluice_leave(ids[gone]));
    for (std::uint32_t n = 0; n < 5; ++n) {
      EXPECT_EQ(found(flow(n, false)), n == gone ? 0 : ids[n] << 1);
      EXPECT_EQ(found(flow(n, true)), n == gone ? 0 : ids[n] << 1 | 1);
    }
  }
}

TEST_F(ConnectionTable, AFullTableAndALongChainTakeNobody) {
  make(40, 1);
  std::uint32_t entered = 0;
  for (std::uint32_t n = 0; n < 40; ++n) {
    const std::uint32_t id = fresh(n, 0);
    ASSERT_NE(id, 0U);
    entered += sluice_enter(id) == SLUICE_LINK_ENTERED ? 1 : 0;
  }
  EXPECT_EQ(entered, SLUICE_CHAIN_MAX / 2) << "both flows of each are in the one chain";
  EXPECT_EQ(fresh(99, 0), 0U) << "40 entries are 40 entries";
  EXPECT_EQ(sluice_take_free(17), 0U) << "nor has another CPU one";
}

TEST_F(ConnectionTable, WhatIsGivenBackIsTakenAgainByEveryCpu) {
  make(3, 1);
  std::set<std::uint32_t> ids;
  for (int i = 0; i < 3; ++i) ids.insert(sluice_take_free(5));
  EXPECT_EQ(ids, (std::set<std::uint32_t>{1, 2, 3}));
  for (const std::uint32_t id : ids) EXPECT_TRUE(sluice_give_back(id, 5));
  std::set<std::uint32_t> again;
  for (std::uint32_t cpu = 6; cpu < 9; ++cpu) again.insert(sluice_take_free(cpu));
  EXPECT_EQ(again, ids);
  EXPECT_EQ(sluice_take_free(5), 0U);
}

TEST_F(ConnectionTable, ThreadsNeverSeeAConnectionTwiceOrLoseOne) {
  constexpr std::uint32_t kThreads = 4;
  constexpr std::uint32_t kFlows = 60;
  constexpr std::uint32_t kEntries = 80;
  constexpr int kRounds = 40000;
  make(kEntries, 16);
  std::atomic<int> entered = 0;
  std::atomic<int> lost_races = 0;
  const auto work = [&](std::uint32_t thread) {
    std::mt19937 random(thread);
    for (int round = 0; round < kRounds; ++round) {
      const auto number = static_cast<std::uint32_t>(random() % kFlows);
      const std::uint32_t link = found(flow(number, random() % 2 == 0));
      if (link != 0) {
        const std::uint32_t id = link >> 1;
        if (random() % 3 == 0 && move_phase(id, SLUICE_PHASE_LIVE, SLUICE_PHASE_DYING)) leave(id, thread);
        continue;
      }
      const std::uint32_t id = fresh(number, thread);
      if (id == 0) continue;
      if (sluice_enter(id) == SLUICE_LINK_ENTERED) {
        // While it is FRESH no CPU takes it out, so no other entry can have become this connection.
        ASSERT_EQ(others_with(number, id), 0) << "connection " << number << " is there twice";
        ASSERT_TRUE(move_phase(id, SLUICE_PHASE_FRESH, SLUICE_PHASE_LIVE));
        ++entered;
      } else {
        ++lost_races;
        set_phase(id, SLUICE_PHASE_DYING);
        leave(id, thread);
      }
    }
  };
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 0; thread < kThreads; ++thread) threads.emplace_back(work, thread);
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(entered, 1000);

  std::uint32_t still = 0;
  for (std::uint32_t number = 0; number < kFlows; ++number) {
    const std::uint32_t link = found(flow(number, false));
    EXPECT_EQ(others_with(number, link >> 1), 0) << number;
    EXPECT_EQ(found(flow(number, true)) >> 1, link >> 1);
    if (link == 0) continue;
    ++still;
    set_phase(link >> 1, SLUICE_PHASE_DYING);
    leave(link >> 1, 0);
  }
  EXPECT_GT(still, 0U);
  for (const __u64 bucket : table->buckets)
    EXPECT_EQ(static_cast<std::uint32_t>(bucket), 0U) << "a chain has an end left";
  EXPECT_EQ(free_entries(), kEntries);
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
