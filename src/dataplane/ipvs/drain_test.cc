// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/drain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/test_world.h"

namespace sluice::dataplane::ipvs {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

// One Service with two real servers on the cluster IP; each test removes 10.2.0.1.
class DrainTest : public testing::Test {
 protected:
  void begin(Protocol protocol = Protocol::kTcp, std::uint32_t connections = 3) {
    both_ = service_port("shop/web", "172.30.10.20", protocol);
    both_.sluice_annotations = annotations_;
    add_server(both_, "10.2.0.1", 8080);
    add_server(both_, "10.2.0.2", 8080);
    one_ = both_;
    one_.real_servers.erase(one_.real_servers.begin());
    key_ = VirtualServerKey::of(protocol, ip("172.30.10.20"), 80);
    plane_ = open_plane(world_, options_);
    expect_applied(*plane_, full({both_}));
    set_connections(world_, key_, "10.2.0.1", connections);
    expect_applied(*plane_, change(&both_, &one_));
  }
  std::optional<milliseconds> tend() {
    const auto again = plane_->tend();
    EXPECT_TRUE(again) << again.error().what;
    return again ? *again : std::nullopt;
  }
  // Lets time pass, calling tend() whenever it is due.
  void pass(milliseconds time) {
    const auto until = world_.clock.steady_now() + time;
    for (int turns = 0; world_.clock.steady_now() < until && turns < 10'000; ++turns) {
      const auto again = tend();
      const auto rest = std::chrono::ceil<milliseconds>(until - world_.clock.steady_now());
      world_.clock.advance(again ? std::min(std::max(*again, milliseconds(1)), rest) : rest);
    }
    (void)tend();
  }
  std::vector<std::string> servers() { return real_servers(world_, key_); }

  World world_;
  Options options_;
  std::map<std::string, std::string> annotations_;
  plan::PortDraft both_;
  plan::PortDraft one_;
  VirtualServerKey key_;
  std::unique_ptr<IpvsDataPlane> plane_;
};

TEST_F(DrainTest, KeepsItsConnectionsAndIsRemovedWhenTheyHaveEnded) {
  begin();
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w0", "10.2.0.2:8080 w1"));
  pass(seconds(30));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w0", "10.2.0.2:8080 w1"));
  set_connections(world_, key_, "10.2.0.1", 0, 1);
  pass(seconds(30));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w0", "10.2.0.2:8080 w1")) << "an inactive connection counts";
  set_connections(world_, key_, "10.2.0.1", 0, 0);
  pass(Drains::kIntervalMax);
  EXPECT_THAT(servers(), ElementsAre("10.2.0.2:8080 w1"));
  EXPECT_EQ(tend(), std::nullopt);
}

TEST_F(DrainTest, IsRemovedAtOnceWithoutConnections) {
  begin(Protocol::kTcp, 0);
  EXPECT_THAT(servers(), ElementsAre("10.2.0.2:8080 w1"));
  EXPECT_EQ(tend(), std::nullopt);
}

TEST_F(DrainTest, IsRemovedAtItsDeadline) {
  options_.drain_timeout = minutes(5);
  begin();
  pass(minutes(5) - milliseconds(1));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w0", "10.2.0.2:8080 w1"));
  pass(milliseconds(1));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.2:8080 w1"));
}

TEST_F(DrainTest, TheServicesOwnDeadlineCounts) {
  annotations_ = {{"sluice.dev/drain-timeout", "30s"}};
  begin();
  pass(seconds(29));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w0", "10.2.0.2:8080 w1"));
  pass(seconds(1));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.2:8080 w1"));
}

TEST_F(DrainTest, ADeadlineOfZeroCuts) {
  annotations_ = {{"sluice.dev/drain-timeout", "0"}};
  begin();
  EXPECT_THAT(servers(), ElementsAre("10.2.0.2:8080 w1"));
  EXPECT_THAT(world_.events_of("find"), IsEmpty());
}

TEST_F(DrainTest, UdpAndSctpAreRemovedAtOnce) {
  for (const Protocol protocol : {Protocol::kUdp, Protocol::kSctp}) {
    ASSERT_TRUE(world_.engine.flush());
    world_.bound.clear();
    begin(protocol);
    EXPECT_THAT(servers(), ElementsAre("10.2.0.2:8080 w1")) << to_string(protocol);
  }
}

TEST_F(DrainTest, OneThatComesBackGetsItsWeightInPlace) {
  begin();
  auto back = both_;
  back.real_servers[0].weight = 4;
  world_.forget();
  expect_applied(*plane_, change(&one_, &back));
  EXPECT_THAT(world_.events, ElementsAre("edit real server 10.2.0.1:8080 of TCP 172.30.10.20:80"));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w4", "10.2.0.2:8080 w1"));
  pass(minutes(60));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w4", "10.2.0.2:8080 w1")) << "the drain is forgotten";
}

TEST_F(DrainTest, AfterARestartItContinuesWithANewDeadline) {
  options_.drain_timeout = minutes(5);
  begin();
  pass(minutes(4));
  plane_ = open_plane(world_, options_);
  world_.forget();
  expect_applied(*plane_, full({one_}));
  EXPECT_THAT(world_.events_of("edit"), IsEmpty());
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w0", "10.2.0.2:8080 w1"));
  pass(minutes(4));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w0", "10.2.0.2:8080 w1"));
  pass(minutes(1));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.2:8080 w1"));
}

TEST_F(DrainTest, AWeightOfZeroThatIsWantedStays) {
  begin();
  auto resting = both_;
  resting.real_servers[0].weight = 0;
  plane_ = open_plane(world_, options_);
  expect_applied(*plane_, full({resting}));
  set_connections(world_, key_, "10.2.0.1", 0);
  pass(minutes(60));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w0", "10.2.0.2:8080 w1"));
  expect_applied(*plane_, change(&resting, &both_));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w1"));
}

TEST_F(DrainTest, AFullSyncKeepsTheDeadline) {
  options_.drain_timeout = minutes(5);
  begin();
  pass(minutes(4));
  expect_applied(*plane_, full({one_}));
  EXPECT_TRUE(plane_->compare(full({one_}))->empty()) << "draining is no difference";
  pass(minutes(1));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.2:8080 w1"));
}

TEST_F(DrainTest, IsRemovedWithItsServiceAndComesBackFresh) {
  begin();
  expect_applied(*plane_, change(&one_, nullptr));
  EXPECT_EQ(tend(), std::nullopt);
  expect_applied(*plane_, change(nullptr, &both_));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w1"));
}

TEST_F(DrainTest, OneThatAnotherProgramRemovedIsForgotten) {
  begin();
  ASSERT_TRUE(world_.engine
                  .apply(std::vector<TableChange>{
                      sluice::ipvs::RemoveRealServer{key_, RealServerKey::of(ip("10.2.0.1"), 8080)}})
                  ->empty());
  pass(seconds(2));
  EXPECT_EQ(tend(), std::nullopt);
  expect_applied(*plane_, change(&one_, &both_));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w1"));
}

TEST_F(DrainTest, OneThatAnotherProgramRemovedComesBackByAFullSync) {
  begin();
  ASSERT_TRUE(world_.engine
                  .apply(std::vector<TableChange>{
                      sluice::ipvs::RemoveRealServer{key_, RealServerKey::of(ip("10.2.0.1"), 8080)}})
                  ->empty());
  expect_applied(*plane_, full({both_}));
  EXPECT_THAT(servers(), ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w1"));
}

TEST_F(DrainTest, IsCheckedAtGrowingIntervals) {
  options_.drain_timeout = minutes(60);
  begin();
  EXPECT_EQ(tend(), milliseconds(1000));
  world_.forget();
  std::vector<long> waits;
  for (int i = 0; i < 6; ++i) {
    world_.clock.advance(*tend());
    waits.push_back(tend()->count());
  }
  EXPECT_THAT(waits, ElementsAre(2000, 4000, 8000, 16000, 16000, 16000));
  EXPECT_EQ(world_.events_of("find").size(), 6u);
}

TEST(Drains, ACheckIsNeverLaterThanADeadline) {
  Drains drains;
  const Drains::Time start{std::chrono::hours(1)};
  const auto key = tcp("172.30.0.1", 80);
  const auto server = RealServerKey::of(ip("10.2.0.1"), 80);
  drains.begin(key, server, start + milliseconds(300), start);
  EXPECT_EQ(drains.next(), start + milliseconds(300));
  drains.begin(key, server, start + minutes(9), start);
  EXPECT_EQ(drains.deadline(key, server), start + milliseconds(300)) << "a drain keeps its deadline";
  EXPECT_THAT(drains.due(start), IsEmpty());
  EXPECT_THAT(drains.due(start + milliseconds(300)), ElementsAre(key));
  EXPECT_TRUE(drains.end(key, server));
  EXPECT_FALSE(drains.end(key, server));
  EXPECT_EQ(drains.next(), std::nullopt);
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
