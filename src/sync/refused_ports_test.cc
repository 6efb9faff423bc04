// SPDX-License-Identifier: Apache-2.0
#include "sync/refused_ports.h"

#include <gmock/gmock.h>

#include <memory>

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

plan::ServicePortPlanPtr port(const std::string& name) {
  plan::ServicePortPlan plan;
  plan.key.service = {"shop", name};
  return std::make_shared<const plan::ServicePortPlan>(plan);
}

dataplane::Changes tries(const std::vector<plan::ServicePortPlanPtr>& ports) {
  dataplane::Changes changes;
  for (const auto& each : ports) changes.ports.push_back({each, each});
  return changes;
}

dataplane::Changes full(const std::vector<plan::ServicePortPlanPtr>& ports) {
  dataplane::Changes changes = tries(ports);
  changes.full = true;
  for (plan::Change& change : changes.ports) change.before = nullptr;
  return changes;
}

TEST(RefusedPorts, WaitsTwiceAsLongAfterEachAttemptUpToABound) {
  FakeClock clock;
  RefusedPorts refused;
  const auto a = port("a");
  std::vector<std::chrono::nanoseconds> waits;
  for (int i = 0; i < 11; ++i) {
    (void)refused.note(tries({a}), {{a->key, "no"}}, clock);
    waits.push_back(*refused.next_attempt({}) - clock.steady_now());
  }
  EXPECT_THAT(waits, ElementsAre(1s, 2s, 4s, 8s, 16s, 32s, 64s, 128s, 256s, 5min, 5min));
}

TEST(RefusedPorts, WhatWasSetAsideIsDueAtOnceAndBeforeWhatWasTried) {
  FakeClock clock;
  RefusedPorts refused;
  const auto a = port("a");
  const auto b = port("b");
  const auto news = refused.note(full({a, b}), {{a->key, "no"}, {b->key, "not tried", true}}, clock);
  EXPECT_THAT(news.refused, SizeIs(1)) << "what was not tried has no reason worth reporting";
  EXPECT_THAT(refused.due(clock.steady_now(), 10, {}), ElementsAre(b->key));
  clock.advance(2s);
  EXPECT_THAT(refused.due(clock.steady_now(), 1, {}), ElementsAre(b->key));
  EXPECT_THAT(refused.due(clock.steady_now(), 10, {}), ElementsAre(a->key, b->key));
  EXPECT_THAT(refused.note(tries({b}), {{b->key, "no"}}, clock).refused, SizeIs(1));
}

TEST(RefusedPorts, OneWhoseChangeWaitsIsNotDueAndKeepsNoOtherFromIt) {
  FakeClock clock;
  RefusedPorts refused;
  const auto a = port("a");
  const auto b = port("b");
  (void)refused.note(full({a}), {{a->key, "no"}}, clock);
  PendingChanges pending;
  pending.add({a, nullptr});
  EXPECT_EQ(refused.next_attempt(pending), std::nullopt);
  clock.advance(1s);
  (void)refused.note(tries({b}), {{b->key, "no"}}, clock);
  EXPECT_EQ(refused.next_attempt(pending), clock.steady_now() + 1s);
  clock.advance(1s);
  EXPECT_THAT(refused.due(clock.steady_now(), 1, {}), ElementsAre(a->key));
  EXPECT_THAT(refused.due(clock.steady_now(), 1, pending), ElementsAre(b->key));
}

TEST(RefusedPorts, APortThatACallDoesNotConcernStays) {
  FakeClock clock;
  RefusedPorts refused;
  const auto a = port("a");
  const auto b = port("b");
  (void)refused.note(full({a, b}), {{a->key, "no"}, {b->key, "no"}}, clock);
  const auto news = refused.note(tries({a}), {}, clock);
  EXPECT_THAT(news.let_in, ElementsAre(a->key));
  EXPECT_FALSE(refused.contains(a->key));
  EXPECT_TRUE(refused.contains(b->key));
}

TEST(RefusedPorts, AFullApplyReportsAll) {
  FakeClock clock;
  RefusedPorts refused;
  const auto a = port("a");
  const auto b = port("b");
  (void)refused.note(full({a, b}), {{a->key, "no"}, {b->key, "no"}}, clock);
  const auto news = refused.note(full({a}), {{a->key, "no"}}, clock);
  EXPECT_THAT(news.refused, IsEmpty());
  EXPECT_THAT(news.let_in, IsEmpty()) << "b is gone, not let in";
  EXPECT_THAT(refused.all(), SizeIs(1));
  EXPECT_EQ(refused.all().at(a->key).attempts, 2u);
}

}  // namespace
}  // namespace sluice::sync
