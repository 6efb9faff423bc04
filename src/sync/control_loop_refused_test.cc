// SPDX-License-Identifier: Apache-2.0
// A cluster with one Service port that the kernel refuses forever: it costs all others nothing.
#include <gmock/gmock.h>

#include "sync/loop_fixture.h"

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;
using test::make_service;
using test::make_slice;
using test::service_port;
using test::slice_port;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class ControlLoopRefusedTest : public test::LoopFixture {
 protected:
  ControlLoopRefusedTest() {
    settings_.min_sync_period = 0s;
    hooks_.port_refused = [this](const dataplane::RefusedPort& each) {
      reported_.push_back(each.port.printed_name() + ": " + each.reason);
    };
  }

  static model::Service sctp() { return make_service("sctp", {service_port("p", 5060)}, {"10.96.0.9"}); }
  static model::EndpointSlice sctp_slice(const std::string& endpoint) {
    return make_slice("sctp-4", "sctp", {slice_port("p", 5060)}, {endpoint});
  }
  // Services web and sctp are known, and the kernel refuses sctp.
  void start_with_refused() {
    make_loop();
    post(complete(with({web(), sctp()}, {web_slice({"10.1.0.1"}), web_slice6({"fd01::1"}), sctp_slice("10.1.0.9")})));
    v4().refuse = [](const plan::ServicePortKey& key) { return key.service.name == "sctp" ? reason_ : ""; };
    step();
  }
  [[nodiscard]] std::vector<std::string> ports_of_last() {
    std::vector<std::string> names;
    for (const plan::Change& change : v4().last().ports) names.push_back(change.key().service.name);
    return names;
  }

  static inline std::string reason_;
  void SetUp() override { reason_ = "protocol not supported"; }
  std::vector<std::string> reported_;
};

TEST_F(ControlLoopRefusedTest, TheFamilyIsSyncedHealthyAndSwept) {
  start_with_refused();
  EXPECT_TRUE(health_.healthy());
  EXPECT_EQ(mode_mechanism_.looks, 1u);
  EXPECT_TRUE(loop_->status().families[0].synced);
  EXPECT_EQ(loop_->status().families[0].last_error, "");
  EXPECT_EQ(metric4("kubeproxy_sync_proxy_rules_iptables_restore_failures_total"), std::nullopt);
  step_after(10min);
  EXPECT_TRUE(health_.healthy());
}

TEST_F(ControlLoopRefusedTest, OtherChangesCostWhatTheyCostWithoutIt) {
  start_with_refused();
  for (int i = 2; i < 10; ++i) {
    clock_.advance(100ms);  // the first retry is not due
    post(with({}, {web_slice({"10.1.0." + std::to_string(i)})}));
    step();
    EXPECT_FALSE(v4().last().full);
    EXPECT_THAT(ports_of_last(), ElementsAre("web"));
  }
  EXPECT_EQ(v4().applied.size(), 9u);
  EXPECT_EQ(loop_->status().families[0].full_syncs, 1u);
}

TEST_F(ControlLoopRefusedTest, ItIsRetriedAloneLessAndLessOften) {
  start_with_refused();
  std::vector<std::chrono::nanoseconds> waits;
  auto last = clock_.steady_now();
  while (waits.size() < 11) {
    const std::size_t before = v4().applied.size();
    clock_.advance(std::max<std::chrono::nanoseconds>(wake_ - clock_.steady_now(), 1ms));
    step();
    if (v4().applied.size() == before) continue;
    ASSERT_FALSE(v4().last().full);
    ASSERT_THAT(ports_of_last(), ElementsAre("sctp"));
    waits.push_back(clock_.steady_now() - last);
    last = clock_.steady_now();
  }
  EXPECT_THAT(waits, ElementsAre(1s, 2s, 4s, 8s, 16s, 32s, 64s, 128s, 256s, 300s, 300s));
  EXPECT_EQ(reported_.size(), 1u);
}

TEST_F(ControlLoopRefusedTest, ItIsTriedAtOnceWhenItsPlanChanged) {
  start_with_refused();
  step_after(100ms);
  ASSERT_EQ(v4().applied.size(), 1u);
  post(with({}, {sctp_slice("10.1.0.10")}));
  step();
  EXPECT_THAT(ports_of_last(), ElementsAre("sctp"));
  EXPECT_FALSE(v4().last().full);
  step_after(999ms);
  EXPECT_EQ(v4().applied.size(), 2u);
  step_after(1ms);
  EXPECT_EQ(v4().applied.size(), 3u) << "the waiting begins anew with another plan";
}

// It is tried with its change; until then the loop sleeps.
TEST_F(ControlLoopRefusedTest, WhileItsChangeWaitsItWakesNobody) {
  settings_.min_sync_period = 10s;
  start_with_refused();
  post(with({}, {sctp_slice("10.1.0.10")}));
  step_after(RefusedPorts::kRetryMin + 1s);
  EXPECT_EQ(v4().applied.size(), 1u);
  EXPECT_EQ(wake_ - clock_.steady_now(), 8s);
  step_after(8s);
  EXPECT_THAT(ports_of_last(), ElementsAre("sctp"));
}

TEST_F(ControlLoopRefusedTest, ADueRetryIsPartOfAChangeThatIsProgrammedAnyway) {
  start_with_refused();
  post(with({}, {web_slice({"10.1.0.2"})}));
  step_after(1s);
  EXPECT_THAT(ports_of_last(), ElementsAre("sctp", "web"));
  EXPECT_EQ(v4().applied.size(), 2u);
}

TEST_F(ControlLoopRefusedTest, ItIsServedAsSoonAsTheKernelAcceptsIt) {
  start_with_refused();
  reason_.clear();
  EXPECT_EQ(metric4("sluice_refused_service_ports"), 1.0);
  step_after(1s);
  EXPECT_EQ(metric4("sluice_refused_service_ports"), 0.0);
  EXPECT_THAT(loop_->status().families[0].refused_ports, IsEmpty());
  EXPECT_EQ(kernels_[0].live.size(), 2u);
  const std::size_t before = v4().applied.size();
  step_after(10s);
  EXPECT_EQ(v4().applied.size(), before);
}

TEST_F(ControlLoopRefusedTest, ItIsReportedOncePerReason) {
  start_with_refused();
  EXPECT_THAT(reported_, ElementsAre(HasSubstr("sctp:p: protocol not supported")));
  step_after(1s);
  step_after(2s);
  EXPECT_EQ(reported_.size(), 1u);
  const auto status = loop_->status().families[0];
  ASSERT_EQ(status.refused_ports.size(), 1u);
  EXPECT_EQ(status.refused_ports[0].reason, "protocol not supported");
  EXPECT_EQ(status.refused_ports[0].attempts, 3u);
  reason_ = "no memory";
  step_after(4s);
  EXPECT_THAT(reported_, ElementsAre(HasSubstr("protocol not supported"), HasSubstr("no memory")));
  reason_.clear();
  step_after(8s);
  reason_ = "no memory";
  post(with({}, {sctp_slice("10.1.0.10")}));
  step_after(1s);
  EXPECT_EQ(reported_.size(), 3u) << "it was served in between";
}

TEST_F(ControlLoopRefusedTest, ARemovedPortIsForgotten) {
  start_with_refused();
  model::Update update;
  update.services_removed = {sctp().key};
  post(std::move(update));
  step_after(100ms);
  EXPECT_EQ(metric4("sluice_refused_service_ports"), 0.0);
  const std::size_t before = v4().applied.size();
  step_after(20s);
  EXPECT_EQ(v4().applied.size(), before);
}

TEST_F(ControlLoopRefusedTest, AFailedRetryIsAFailedSync) {
  start_with_refused();
  v4().failures = 1;
  step_after(1s);
  EXPECT_NE(loop_->status().families[0].last_error, "");
  step_after(settings_.sync_period);
  EXPECT_TRUE(v4().last().full);
}

TEST_F(ControlLoopRefusedTest, ItDoesNotCountAsDrift) {
  settings_.drift_repair_interval = 1min;
  start_with_refused();
  step_after(1min);
  EXPECT_EQ(loop_->status().families[0].drift_repairs, 0u);
}

TEST_F(ControlLoopRefusedTest, ManyAreTriedInPartsAndChangesComeBetween) {
  make_loop();
  model::Update update;
  for (int i = 0; i < 100; ++i) {
    const std::string name = "sctp" + std::to_string(i);
    update.services.push_back(make_service(name, {service_port("p", 5060)}, {"10.96.1." + std::to_string(i)}));
    update.slices.push_back(make_slice(name + "-4", name, {slice_port("p", 5060)}, {"10.1.0.9"}));
  }
  update.services.push_back(web());
  v4().refuse = [](const plan::ServicePortKey& key) { return key.service.name != "web" ? reason_ : ""; };
  post(complete(std::move(update)));
  step();
  EXPECT_EQ(metric4("sluice_refused_service_ports"), 100.0);
  clock_.advance(1s);
  for (const std::size_t expected : {32u, 32u, 32u, 4u}) {
    step();
    EXPECT_EQ(v4().last().ports.size(), expected);
  }
  const std::size_t before = v4().applied.size();
  step();
  EXPECT_EQ(v4().applied.size(), before);
}

// ---- what the kernel does not release

TEST_F(ControlLoopRefusedTest, WhatCannotBeRemovedIsNoDriftAndIsTriedLessAndLessOften) {
  settings_.drift_repair_interval = 10min;
  start_with_refused();
  v4().refuse = nullptr;
  v4().held = {"sctp"};
  model::Update gone;
  gone.services_removed = {{"shop", "sctp"}};
  post(std::move(gone));
  step_after(1s);
  const auto of_v4 = [this] { return loop_->status().families[0]; };
  EXPECT_THAT(of_v4().unremoved, IsEmpty()) << "it was refused, so nothing of it was live";

  post(with({sctp()}, {sctp_slice("10.1.0.9")}));
  step_after(1s);
  ASSERT_THAT(kernels_[0].live, testing::SizeIs(2));
  gone.services_removed = {{"shop", "sctp"}};
  post(std::move(gone));
  step_after(1s);
  EXPECT_THAT(of_v4().unremoved, ElementsAre("shop/sctp:p: in use"));
  // Tries are full syncs, after 1, 2, 4 and 8 minutes.
  std::size_t full = of_v4().full_syncs;
  for (const std::chrono::minutes wait : {1min, 2min, 4min, 8min}) {
    step_after(wait - 1s);
    EXPECT_EQ(of_v4().full_syncs, full);
    step_after(1s);
    EXPECT_EQ(of_v4().full_syncs, ++full);
  }
  EXPECT_GT(v4().comparisons, 0u);
  EXPECT_EQ(of_v4().drift_repairs, 0u);
  EXPECT_THAT(of_v4().unremoved, testing::SizeIs(1));

  v4().held.clear();
  step_after(16min);
  EXPECT_THAT(of_v4().unremoved, IsEmpty());
  EXPECT_THAT(kernels_[0].live, testing::SizeIs(1));
  full = of_v4().full_syncs;
  for (int i = 0; i < 50; ++i) step_after(1min);
  EXPECT_EQ(of_v4().full_syncs, full) << "nothing is left to try";
  EXPECT_EQ(of_v4().drift_repairs, 0u);
}

// A data plane may report a port that the plan does not have any more, as one that two of them fought over. It is not
// wanted, so it is not due either: the loop sleeps.
TEST_F(ControlLoopRefusedTest, ARefusedPortThatIsNotWantedAnyMoreIsForgotten) {
  start_with_refused();
  model::Update gone;
  gone.services_removed = {sctp().key};
  v4().also_refused = {{{sctp().key, "p"}, "in use"}};
  post(std::move(gone));
  step();
  v4().also_refused.clear();
  step_after(RefusedPorts::kRetryMin);
  EXPECT_GT(wake_, clock_.steady_now());
  EXPECT_THAT(loop_->status().families[0].refused_ports, IsEmpty());
  EXPECT_EQ(metric4("sluice_refused_service_ports"), 0.0);
}

}  // namespace
}  // namespace sluice::sync
