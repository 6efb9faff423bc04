// SPDX-License-Identifier: Apache-2.0
#include "sync/leftover_sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/clock.h"
#include "dataplane/fake_mechanism.h"

namespace sluice::sync {
namespace {

using dataplane::FakeMechanism;
using testing::ElementsAre;
using testing::IsEmpty;
using namespace std::chrono_literals;

class LeftoverSweepTest : public testing::Test {
 protected:
  LeftoverSweep sweep() { return LeftoverSweep({&iptables_, &ipvs_}, clock_); }
  std::optional<std::chrono::nanoseconds> step(LeftoverSweep& sweep) {
    sweep.step(in_use_);
    const auto next = sweep.next_wake();
    if (!next) return std::nullopt;
    return std::max<std::chrono::nanoseconds>(*next - clock_.steady_now(), 0ns);
  }
  // Steps as long as something is due now, and returns after how long more will be.
  std::optional<std::chrono::nanoseconds> run(LeftoverSweep& sweep) {
    constexpr int kStepsMax = 100;
    for (int i = 0; i < kStepsMax; ++i) {
      const auto wait = step(sweep);
      if (!wait || *wait > 0ns) return wait;
    }
    ADD_FAILURE() << "the sweep does not end";
    return std::nullopt;
  }
  ModesInUse in_use_{{"iptables", {{Family::kIPv4}, false}}};
  FakeClock clock_;
  FakeMechanism iptables_{"iptables"};
  FakeMechanism ipvs_{"ipvs"};
};

TEST_F(LeftoverSweepTest, EveryMechanismIsAskedOnceIfNothingIsLeft) {
  LeftoverSweep sweep = this->sweep();
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_EQ(iptables_.looks, 1u);
  EXPECT_EQ(ipvs_.looks, 1u);
  EXPECT_THAT(iptables_.served_when_looked, ElementsAre(Family::kIPv4));
  EXPECT_THAT(ipvs_.served_when_looked, IsEmpty());
}

TEST_F(LeftoverSweepTest, EachStepIsOneLookOrOnePiece) {
  iptables_.objects = {"a", "b", "c", "d", "e"};
  iptables_.piece = 2;
  LeftoverSweep sweep = this->sweep();
  EXPECT_EQ(step(sweep), 0ns);
  EXPECT_EQ(iptables_.removals, 0u);
  for (const std::size_t left : {3u, 1u, 0u}) {
    EXPECT_TRUE(step(sweep));
    EXPECT_EQ(iptables_.objects.size(), left);
    EXPECT_EQ(ipvs_.looks, 0u) << "one after the other";
  }
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_EQ(iptables_.looks, 1u);
}

TEST_F(LeftoverSweepTest, ConnectionsAreWaitedForWhileOthersAreRemoved) {
  iptables_.objects = {"a"};
  ipvs_.objects = {"v"};
  ipvs_.connections = 7;
  ipvs_.drain_timeout = 15min;
  LeftoverSweep sweep = this->sweep();
  EXPECT_EQ(run(sweep), LeftoverSweep::kLookInterval);
  EXPECT_THAT(iptables_.objects, IsEmpty());
  EXPECT_THAT(ipvs_.objects, ElementsAre("v"));
  EXPECT_EQ(ipvs_.retirements, 1u) << "new ones are not its any more";
  EXPECT_EQ(iptables_.retirements, 0u);
  clock_.advance(LeftoverSweep::kLookInterval);
  ipvs_.connections = 0;
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_THAT(ipvs_.objects, IsEmpty());
}

TEST_F(LeftoverSweepTest, NoWaitExceedsTheDrainTimeout) {
  ipvs_.objects = {"v"};
  ipvs_.connections = 1;
  ipvs_.drain_timeout = 25s;
  LeftoverSweep sweep = this->sweep();
  EXPECT_EQ(run(sweep), 10s);
  clock_.advance(10s);
  EXPECT_EQ(run(sweep), 10s);
  clock_.advance(10s);
  EXPECT_EQ(run(sweep), 5s);
  EXPECT_THAT(ipvs_.objects, ElementsAre("v"));
  clock_.advance(5s);
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_THAT(ipvs_.objects, IsEmpty());
}

TEST_F(LeftoverSweepTest, WhatIsRefusedIsRetriedLessAndLessOften) {
  iptables_.objects = {"a", "b"};
  iptables_.refused["a"] = "in use";
  LeftoverSweep sweep = this->sweep();
  EXPECT_EQ(run(sweep), 1min);
  EXPECT_THAT(iptables_.objects, ElementsAre("a"));
  clock_.advance(1min);
  EXPECT_EQ(run(sweep), 2min);
  clock_.advance(2min);
  iptables_.refused.clear();
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_THAT(iptables_.objects, IsEmpty());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_EQ(iptables_.looks, 3u) << "done is done";
}

TEST_F(LeftoverSweepTest, TheRetryIntervalHasABound) {
  iptables_.objects = {"a"};
  iptables_.refused["a"] = "in use";
  LeftoverSweep sweep = this->sweep();
  std::chrono::nanoseconds wait{0};
  for (int i = 0; i < 10; ++i) {
    wait = run(sweep).value_or(0ns);
    clock_.advance(wait);
  }
  EXPECT_EQ(wait, LeftoverSweep::kRetryMax);
}

// From mode ipvs to iptables and back, in one process.
TEST_F(LeftoverSweepTest, AModeIsLookedAtAgainWhenItsPlaneIsGone) {
  in_use_ = {{"ipvs", {{Family::kIPv4}, false}}};
  LeftoverSweep sweep = this->sweep();
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_THAT(ipvs_.served_when_looked, ElementsAre(Family::kIPv4));
  ipvs_.objects = {"v"};
  in_use_["iptables"].changing = true;
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_EQ(ipvs_.looks, 1u) << "it still serves";
  in_use_ = {{"iptables", {{Family::kIPv4}, false}}, {"ipvs", {{}, true}}};
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_EQ(ipvs_.looks, 1u) << "its plane retires";
  EXPECT_EQ(iptables_.looks, 2u) << "beside the new plane something else may be left";
  in_use_.erase("ipvs");
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_EQ(ipvs_.looks, 2u);
  EXPECT_THAT(ipvs_.served_when_looked, IsEmpty());
  EXPECT_THAT(ipvs_.objects, IsEmpty());
}

TEST_F(LeftoverSweepTest, ARemovalEndsWhenAPlaneOfTheModeIsBegun) {
  ipvs_.objects = {"u", "v", "w"};
  ipvs_.piece = 1;
  LeftoverSweep sweep = this->sweep();
  while (ipvs_.objects.size() > 2) ASSERT_EQ(step(sweep), 0ns);
  in_use_["ipvs"].changing = true;
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_EQ(ipvs_.objects.size(), 2u) << "the plane may need them";
  in_use_["ipvs"] = {{Family::kIPv4}, false};
  ipvs_.objects.clear();
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_THAT(ipvs_.served_when_looked, ElementsAre(Family::kIPv4));
}

// The plane that retired has waited already.
TEST_F(LeftoverSweepTest, ConnectionsHaveTheirTimeFromTheBeginningOfTheRetirement) {
  in_use_ = {{"ipvs", {{Family::kIPv4}, false}}};
  LeftoverSweep sweep = this->sweep();
  EXPECT_EQ(run(sweep), std::nullopt);
  clock_.advance(1h);
  ipvs_.objects = {"v"};
  ipvs_.connections = 1;
  ipvs_.drain_timeout = 60s;
  in_use_ = {{"iptables", {{Family::kIPv4}, false}}, {"ipvs", {{}, true}}};
  EXPECT_EQ(run(sweep), std::nullopt);
  clock_.advance(55s);
  in_use_.erase("ipvs");
  EXPECT_EQ(run(sweep), 5s);
  clock_.advance(5s);
  EXPECT_EQ(run(sweep), std::nullopt);
  EXPECT_THAT(ipvs_.objects, IsEmpty());
}

}  // namespace
}  // namespace sluice::sync
