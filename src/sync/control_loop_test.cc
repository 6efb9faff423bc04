// SPDX-License-Identifier: Apache-2.0
// When the loop programs what: start, batching, failures, interference by others. What it reports to the rest:
// control_loop_report_test.cc.
#include "sync/control_loop.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sync/loop_fixture.h"

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;
using namespace test;
using testing::IsEmpty;
using testing::SizeIs;

using ControlLoopTest = LoopFixture;

std::vector<std::string> endpoints(const plan::ServicePortPlanPtr& port) {
  std::vector<std::string> all;
  for (const plan::RealServer& server : port->real_servers) all.push_back(server.to_string());
  return all;
}

TEST_F(ControlLoopTest, NothingIsProgrammedBeforeBothListsAreComplete) {
  kernels_[0].canary = true;
  leave_behind(kernels_[0], "left by an earlier process");
  make_loop();
  post(with({web()}, {web_slice({"10.1.0.1"})}));
  step();
  model::Update services;
  services.services_complete = true;
  post(std::move(services));
  step_after(1h);
  EXPECT_THAT(v4().applied, IsEmpty());
  EXPECT_EQ(v4().canary_checks, 0u);
  EXPECT_THAT(kernels_[0].live, SizeIs(1));
  EXPECT_TRUE(health_.healthy());

  model::Update slices;
  slices.slices_complete = true;
  post(std::move(slices));
  step();
  ASSERT_THAT(v4().applied, SizeIs(1));
  ASSERT_THAT(v6().applied, SizeIs(1));
  EXPECT_TRUE(v4().last().full);
  EXPECT_THAT(v4().last().ports, SizeIs(1));
  EXPECT_THAT(kernels_[0].live, SizeIs(1));
  EXPECT_TRUE(kernels_[0].live.begin()->first.service.name == "web");
}

TEST_F(ControlLoopTest, AFirstListThatComesInPiecesIsProgrammedWhole) {
  make_loop();
  for (int i = 0; i < 100; ++i) {
    post(with({make_service(fmt::format("s{}", i), {service_port("p", 80)})}));
    if (i % 10 == 0) step();
  }
  EXPECT_THAT(v4().applied, IsEmpty());
  post(complete());
  step();
  ASSERT_THAT(v4().applied, SizeIs(1));
  EXPECT_THAT(v4().last().ports, SizeIs(100));
}

TEST_F(ControlLoopTest, AnEmptyClusterIsProgrammedToo) {
  make_loop();
  post(complete());
  step();
  ASSERT_THAT(v4().applied, SizeIs(1));
  EXPECT_TRUE(v4().last().full);
  EXPECT_THAT(v4().last().ports, IsEmpty());
}

TEST_F(ControlLoopTest, OneChangedSliceIsOneChangeOfItsFamilyAtOnce) {
  start_with_web();
  post(with({}, {web_slice({"10.1.0.1", "10.1.0.2"})}));
  step();
  ASSERT_THAT(v4().applied, SizeIs(2));
  EXPECT_FALSE(v4().last().full);
  ASSERT_THAT(v4().last().ports, SizeIs(1));
  EXPECT_THAT(endpoints(v4().last().ports[0].before), testing::ElementsAre("10.1.0.1:8080"));
  EXPECT_THAT(endpoints(v4().last().ports[0].after), testing::ElementsAre("10.1.0.1:8080", "10.1.0.2:8080"));
  EXPECT_THAT(v6().applied, SizeIs(1));
}

TEST_F(ControlLoopTest, ABurstIsItsFirstChangeAtOnceAndTheRestTogether) {
  start_with_web();
  post(with({}, {web_slice({"10.1.0.1", "10.1.0.2"})}));
  step();
  ASSERT_THAT(v4().applied, SizeIs(2));
  for (int i = 3; i < 50; ++i) {
    post(with({}, {web_slice({"10.1.0.1", fmt::format("10.1.0.{}", i)})}));
    step_after(10ms);
  }
  EXPECT_THAT(v4().applied, SizeIs(2));
  EXPECT_EQ(wake_ - clock_.steady_now(), 1s - 470ms);
  step_after(530ms);
  ASSERT_THAT(v4().applied, SizeIs(3));
  ASSERT_THAT(v4().last().ports, SizeIs(1));
  EXPECT_THAT(endpoints(v4().last().ports[0].before), testing::ElementsAre("10.1.0.1:8080", "10.1.0.2:8080"));
  EXPECT_THAT(endpoints(v4().last().ports[0].after), testing::ElementsAre("10.1.0.1:8080", "10.1.0.49:8080"));
}

TEST_F(ControlLoopTest, WithoutAMinimumEveryTurnPrograms) {
  settings_.min_sync_period = 0s;
  start_with_web();
  for (int i = 0; i < 3; ++i) {
    post(with({}, {web_slice({fmt::format("10.1.0.{}", i + 2)})}));
    step();
  }
  EXPECT_THAT(v4().applied, SizeIs(4));
}

TEST_F(ControlLoopTest, APortThatIsBackWhereItWasIsNotProgrammed) {
  start_with_web();
  post(with({}, {web_slice({"10.1.0.2"})}));
  post(with({}, {web_slice({"10.1.0.1"})}));
  step();
  EXPECT_THAT(v4().applied, SizeIs(1));
  step_after(61s);
  EXPECT_TRUE(health_.healthy()) << "nothing is waiting any more";
}

TEST_F(ControlLoopTest, WhatDoesNotChangeForwardingIsNotProgrammed) {
  start_with_web();
  post(with({web()}, {web_slice({"10.1.0.1"})}));
  model::Update unknown;
  unknown.services_removed.push_back({"shop", "unknown"});
  post(std::move(unknown));
  post(with({}, {make_slice("stray", "unknown", {slice_port("p", 1)}, {"10.1.0.1"})}));
  step();
  EXPECT_THAT(v4().applied, SizeIs(1));
  EXPECT_THAT(v6().applied, SizeIs(1));
}

TEST_F(ControlLoopTest, ADeletedServiceIsAChangeWithoutAfter) {
  start_with_web();
  model::Update update;
  update.services_removed.push_back({"shop", "web"});
  post(std::move(update));
  step();
  ASSERT_THAT(v4().applied, SizeIs(2));
  EXPECT_FALSE(v4().last().ports.at(0).after);
  EXPECT_THAT(kernels_[0].live, IsEmpty());
  EXPECT_THAT(kernels_[1].live, IsEmpty());
}

TEST_F(ControlLoopTest, AFailedFamilyRetriesInFullAtOnceThenEverySyncPeriodAndTheOtherContinues) {
  start_with_web();
  v4().failures = 2;
  post(with({make_service("more", {service_port("p", 81)}, {"10.96.0.2", "fd00::2"})}));
  step();
  ASSERT_THAT(v4().applied, SizeIs(2));
  EXPECT_THAT(v6().applied, SizeIs(2));
  EXPECT_THAT(kernels_[1].live, SizeIs(2));
  EXPECT_EQ(wake_ - clock_.steady_now(), 1s) << "the change does not wait for the sync period";
  step_after(1s);
  ASSERT_THAT(v4().applied, SizeIs(3));
  EXPECT_TRUE(v4().last().full);
  // A full one that fails does.
  step_after(29s);
  EXPECT_THAT(v4().applied, SizeIs(3));
  step_after(1s);
  ASSERT_THAT(v4().applied, SizeIs(4));
  EXPECT_TRUE(v4().last().full);
  EXPECT_THAT(v4().last().ports, SizeIs(2));
  EXPECT_THAT(kernels_[0].live, SizeIs(2));
  EXPECT_THAT(v6().applied, SizeIs(2));
}

TEST_F(ControlLoopTest, AFailedFirstSyncIsRetriedAndKeepsWhatWasLive) {
  kernels_[0].canary = true;
  leave_behind(kernels_[0], "left by an earlier process");
  make_loop();
  v4().failures = 1;
  post(complete(with({web()})));
  step();
  EXPECT_THAT(kernels_[0].live, SizeIs(1));
  EXPECT_EQ(v4().canary_checks, 0u);
  step_after(30s);
  ASSERT_THAT(v4().applied, SizeIs(2));
  EXPECT_TRUE(v4().last().full);
  EXPECT_THAT(v4().last().ports, SizeIs(1));
}

TEST_F(ControlLoopTest, AChangeAfterAFailureDoesNotWaitForTheRetryButForTheMinimum) {
  start_with_web();
  v4().failures = 1;
  post(with({}, {web_slice({"10.1.0.2"})}));
  step();
  post(with({}, {web_slice({"10.1.0.3"})}));
  step();
  EXPECT_THAT(v4().applied, SizeIs(2));
  step_after(1s);
  ASSERT_THAT(v4().applied, SizeIs(3));
  EXPECT_TRUE(v4().last().full);
  EXPECT_THAT(endpoints(kernels_[0].live.begin()->second), testing::ElementsAre("10.1.0.3:8080"));
}

TEST_F(ControlLoopTest, AfterAFailureARevertedChangeIsStillProgrammed) {
  start_with_web();
  v4().failures = 1;
  v4().fail_after = 1;  // the change is live though the call failed
  post(with({}, {web_slice({"10.1.0.2"})}));
  step();
  EXPECT_THAT(endpoints(kernels_[0].live.begin()->second), testing::ElementsAre("10.1.0.2:8080"));
  post(with({}, {web_slice({"10.1.0.1"})}));
  step_after(1s);
  EXPECT_THAT(endpoints(kernels_[0].live.begin()->second), testing::ElementsAre("10.1.0.1:8080"));
}

TEST_F(ControlLoopTest, FlushedRulesAreRewrittenWithinASyncPeriod) {
  start_with_web();
  kernels_[0].flush();
  step_after(28s);
  EXPECT_THAT(kernels_[0].live, IsEmpty());
  step_after(1s);
  ASSERT_THAT(v4().applied, SizeIs(2));
  EXPECT_TRUE(v4().last().full);
  EXPECT_THAT(kernels_[0].live, SizeIs(1));
  EXPECT_EQ(metric("sluice_drift_repairs_total{ip_family=\"IPv4\"}"), 1);
  EXPECT_THAT(v6().applied, SizeIs(1));
  step_after(30s);
  EXPECT_THAT(v4().applied, SizeIs(2));
}

TEST_F(ControlLoopTest, ACanaryThatCannotBeReadIsNotTakenAsGone) {
  start_with_web();
  v4().canary_unreadable = true;
  step_after(30s);
  step_after(30s);
  EXPECT_EQ(v4().canary_checks, 2u);
  EXPECT_THAT(v4().applied, SizeIs(1));
}

TEST_F(ControlLoopTest, OnceAnHourEverythingIsRewritten) {
  start_with_web();
  for (int i = 0; i < 118; ++i) step_after(30s);
  EXPECT_THAT(v4().applied, SizeIs(1));
  for (int i = 0; i < 3; ++i) step_after(30s);
  ASSERT_THAT(v4().applied, SizeIs(2));
  EXPECT_TRUE(v4().last().full);
}

TEST_F(ControlLoopTest, PartialSyncsDoNotPutOffTheHourlyFullOne) {
  start_with_web();
  for (int i = 0; i < 130; ++i) {
    post(with({}, {web_slice({fmt::format("10.1.0.{}", 1 + i)})}));
    step_after(30s);
  }
  std::size_t full = 0;
  for (const auto& changes : v4().applied) full += changes.full ? 1U : 0U;
  EXPECT_EQ(full, 2u);
}

TEST_F(ControlLoopTest, APlaneThatWantsNoHourlyFullSyncGetsNone) {
  start_with_web();
  v4().wants_full_by_time = false;
  for (int i = 0; i < 130; ++i) step_after(30s);
  EXPECT_THAT(v4().applied, SizeIs(1));
  EXPECT_THAT(v6().applied, SizeIs(2)) << "the other family's does";
}

TEST_F(ControlLoopTest, DriftIsComparedAndRepairedAtItsInterval) {
  settings_.drift_repair_interval = 10min;
  start_with_web();
  leave_behind(kernels_[0], "foreign");
  step_after(599s - settings_.min_sync_period);
  EXPECT_EQ(v4().comparisons, 0u);
  step_after(1s);
  EXPECT_EQ(v4().comparisons, 1u);
  ASSERT_THAT(v4().applied, SizeIs(2));
  EXPECT_TRUE(v4().last().full);
  EXPECT_THAT(kernels_[0].live, SizeIs(1));
  EXPECT_EQ(metric("sluice_drift_repairs_total{ip_family=\"IPv4\"}"), 1);
  EXPECT_EQ(v6().comparisons, 1u);
  EXPECT_THAT(v6().applied, SizeIs(1));
}

TEST_F(ControlLoopTest, WithoutAnIntervalNothingIsCompared) {
  start_with_web();
  for (int i = 0; i < 200; ++i) step_after(30s);
  EXPECT_EQ(v4().comparisons, 0u);
}

TEST_F(ControlLoopTest, WhatWaitsToBeProgrammedIsNotTakenForDrift) {
  settings_.drift_repair_interval = 30s;
  start_with_web();
  v4().failures = 100;
  post(with({}, {web_slice({"10.1.0.2"})}));
  step();
  for (int i = 0; i < 60; ++i) step_after(1s);
  EXPECT_EQ(v4().comparisons, 0u);
}

TEST_F(ControlLoopTest, ChangedNodePortAddressesComeWithAFullSync) {
  dataplane::NodePortAddresses addresses{false, {ip("192.0.2.1")}};
  hooks_.node_port_addresses = [&addresses](Family family) {
    return family == Family::kIPv4 ? addresses : dataplane::NodePortAddresses{};
  };
  start_with_web();
  EXPECT_EQ(v4().last().node_port_addresses, addresses);
  addresses.addresses.push_back(ip("192.0.2.2"));
  post(with({}, {web_slice({"10.1.0.2"})}));
  step();
  ASSERT_THAT(v4().applied, SizeIs(2));
  EXPECT_TRUE(v4().last().full);
  EXPECT_EQ(v4().last().node_port_addresses, addresses);

  addresses.addresses.pop_back();
  step_after(30s);
  ASSERT_THAT(v4().applied, SizeIs(3)) << "also without any change of a Service";
  EXPECT_EQ(v4().last().node_port_addresses, addresses);
  EXPECT_THAT(v6().applied, SizeIs(1));
}

TEST_F(ControlLoopTest, ANewZoneChangesWhatTheHintsMean) {
  start_with_web();
  model::EndpointSlice slice = web_slice({"10.1.0.1 zone=a", "10.1.0.2 zone=b"});
  model::Node node = this_node();
  node.labels[std::string(model::kZoneLabel)] = "a";
  model::Update update = with({}, {slice});
  update.node = node;
  post(std::move(update));
  step();
  EXPECT_THAT(endpoints(kernels_[0].live.begin()->second), testing::ElementsAre("10.1.0.1:8080"));

  node.labels.begin()->second = "b";
  model::Update moved;
  moved.node = node;
  post(std::move(moved));
  step_after(1s);
  EXPECT_THAT(endpoints(kernels_[0].live.begin()->second), testing::ElementsAre("10.1.0.2:8080"));
  EXPECT_FALSE(v4().last().full);
  EXPECT_EQ(loop_->status().zone, "b");
}

TEST_F(ControlLoopTest, OtherChangesOfTheNodeProgramNothing) {
  start_with_web();
  model::Update update;
  update.node = this_node();
  update.node->labels["kubernetes.io/os"] = "linux";
  post(std::move(update));
  step();
  EXPECT_THAT(v4().applied, SizeIs(1));
}

TEST_F(ControlLoopTest, ChangedPodCidrsAreFatalOnceIfTheDetectorsUseThem) {
  settings_.pod_cidrs = std::vector<Cidr>{cidr("10.1.0.0/24")};
  start_with_web();
  model::Node node = this_node();
  for (const char* cidr : {"10.1.0.0/24", "10.9.0.0/24", "10.8.0.0/24"}) {
    node.pod_cidrs = {sluice::cidr(cidr)};
    model::Update update;
    update.node = node;
    post(std::move(update));
    step();
    EXPECT_THAT(fatal_, SizeIs(cidr == std::string("10.1.0.0/24") ? 0 : 1)) << cidr;
  }
}

TEST_F(ControlLoopTest, ChangedPodCidrsDoNotMatterOtherwise) {
  start_with_web();
  for (const char* cidr : {"10.1.0.0/24", "10.9.0.0/24"}) {
    model::Update update;
    update.node = this_node();
    update.node->pod_cidrs = {sluice::cidr(cidr)};
    post(std::move(update));
    step();
  }
  EXPECT_THAT(fatal_, IsEmpty());
}

TEST_F(ControlLoopTest, ARestartedLoopLeavesTheKernelAloneUntilItKnowsEverything) {
  start_with_web();
  make_loop();
  step();
  post(with({web()}));
  step_after(1h);
  EXPECT_THAT(endpoints(kernels_[0].live.begin()->second), testing::ElementsAre("10.1.0.1:8080"));
  post(complete(with({}, {web_slice({"10.1.0.9"})})));
  step();
  EXPECT_TRUE(v4().last().full);
  EXPECT_THAT(endpoints(kernels_[0].live.begin()->second), testing::ElementsAre("10.1.0.9:8080"));
}

TEST_F(ControlLoopTest, WithOneDataPlaneTheOtherFamilyIsIgnored) {
  std::vector<std::unique_ptr<dataplane::DataPlane>> planes;
  auto plane = std::make_unique<FakeDataPlane>(Family::kIPv6, kernels_[1]);
  planes_[1] = plane.get();
  planes.push_back(std::move(plane));
  loop_ = std::make_unique<ControlLoop>(settings_, hooks_, clock_, metrics_, health_, std::move(planes));
  post(complete(with({web()}, {web_slice({"10.1.0.1"}), web_slice6({"fd01::1"})})));
  step();
  EXPECT_THAT(kernels_[1].live, SizeIs(1));
  post(with({}, {web_slice({"10.1.0.2"})}));
  step_after(1s);
  EXPECT_THAT(v6().applied, SizeIs(1));
}

}  // namespace
}  // namespace sluice::sync
