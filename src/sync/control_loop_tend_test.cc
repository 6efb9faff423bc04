// SPDX-License-Identifier: Apache-2.0
// What a data plane leaves for later, and what it declines to do: drains that end between two syncs, addresses that it
// refuses.
#include <gtest/gtest.h>

#include "sync/loop_fixture.h"

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;
using namespace test;

class ControlLoopTendTest : public LoopFixture {};

TEST_F(ControlLoopTendTest, ADataPlaneIsCalledAgainWhenItAskedFor) {
  start_with_web();
  EXPECT_EQ(v4().tended, 1U);
  v4().tend_again = 5s;
  post(with({}, {web_slice({"10.1.0.2"})}));
  step();
  ASSERT_EQ(v4().tended, 2U);
  EXPECT_LE(wake_, clock_.steady_now() + 5s);
  step_after(4s);
  EXPECT_EQ(v4().tended, 2U);
  v4().tend_again.reset();
  step_after(1s);
  EXPECT_EQ(v4().tended, 3U);
  const auto applied = v4().applied.size();
  step_after(10s);
  EXPECT_EQ(v4().tended, 3U) << "nothing was left to do";
  EXPECT_EQ(v4().applied.size(), applied) << "looking after drains is no sync";
}

TEST_F(ControlLoopTendTest, WhatCouldNotBeFinishedIsRetriedAfterASyncPeriod) {
  settings_.sync_period = 30s;
  start_with_web();
  v4().tend_fails = true;
  post(with({}, {web_slice({"10.1.0.2"})}));
  step();
  ASSERT_EQ(v4().tended, 2U);
  EXPECT_TRUE(health_.healthy());
  v4().tend_fails = false;
  step_after(29s);
  EXPECT_EQ(v4().tended, 2U);
  step_after(1s);
  EXPECT_EQ(v4().tended, 3U);
}

TEST_F(ControlLoopTendTest, ARefusedAddressIsReportedOnceAndCountedUntilItIsServed) {
  std::vector<std::string> reported;
  hooks_.address_refused = [&reported](const dataplane::Refusal& refusal) {
    reported.push_back(refusal.port.printed_name() + " " + plan::to_string(refusal.frontend));
  };
  start_with_web();
  dataplane::Refusal refusal;
  refusal.port.service = {"shop", "web"};
  refusal.port.port_name = "p";
  refusal.frontend = {plan::FrontendKind::kExternalIp, false, 80, ip("192.0.2.1")};
  refusal.reason = "192.0.2.1 is an address of this node (eth0)";
  dataplane::Refusal of_balancer = refusal;  // the same address
  of_balancer.frontend.kind = plan::FrontendKind::kLoadBalancerIp;
  v4().refused = {refusal, of_balancer};
  for (const char* endpoint : {"10.1.0.2", "10.1.0.3"}) {
    post(with({}, {web_slice({endpoint})}));
    step_after(settings_.min_sync_period);
  }
  EXPECT_EQ(reported, std::vector<std::string>{"shop/web:p 192.0.2.1:80"});
  EXPECT_EQ(metric4("sluice_refused_addresses"), 1.0);
  EXPECT_EQ(loop_->status().families[0].refusals, std::vector<dataplane::Refusal>{refusal});
  v4().refused.clear();
  post(with({}, {web_slice({"10.1.0.4"})}));
  step_after(settings_.min_sync_period);
  EXPECT_EQ(metric4("sluice_refused_addresses"), 0.0);
  EXPECT_TRUE(loop_->status().families[0].refusals.empty());
}

TEST_F(ControlLoopTendTest, AnUnmetRequestIsReportedOnceAndCountedUntilItIsMet) {
  std::vector<std::string> reported;
  hooks_.request_unmet = [&reported](const dataplane::UnmetRequest& unmet) {
    reported.push_back(unmet.service.to_string() + ": " + unmet.why);
  };
  start_with_web();
  v4().unmet = {{{"shop", "web"}, "no lc here"}};
  for (const char* endpoint : {"10.1.0.2", "10.1.0.3"}) {
    post(with({}, {web_slice({endpoint})}));
    step_after(settings_.min_sync_period);
  }
  EXPECT_EQ(reported, std::vector<std::string>{"shop/web: no lc here"});
  EXPECT_EQ(metric4("sluice_unmet_requests"), 1.0);
  EXPECT_EQ(loop_->status().families[0].unmet_requests, v4().unmet);
  v4().unmet.clear();
  post(with({}, {web_slice({"10.1.0.4"})}));
  step_after(settings_.min_sync_period);
  EXPECT_EQ(metric4("sluice_unmet_requests"), 0.0);
  EXPECT_TRUE(loop_->status().families[0].unmet_requests.empty());
}

TEST_F(ControlLoopTendTest, TheWorkOfAPlanesOwnProgramsIsReadEverySyncPeriod) {
  start_with_web();
  EXPECT_FALSE(loop_->status().families[0].kernel_work);
  v4().work = dataplane::KernelWork{{"connections: 1 of at most 2"}, {}};
  step_after(settings_.sync_period);
  EXPECT_EQ(loop_->status().families[0].kernel_work, v4().work);
}

// What the plan refuses goes the same way: reported once, listed, and forgotten when it is served.
TEST_F(ControlLoopTendTest, AnAddressThatAnOlderServiceHasIsReportedUntilThatOneGoes) {
  std::vector<std::string> reported;
  hooks_.address_refused = [&reported](const dataplane::Refusal& refusal) {
    reported.push_back(refusal.port.printed_name() + ": " + refusal.reason);
  };
  start_with_web();
  model::Service older = web();
  older.key.name = "api";
  older.created = 1;
  older.cluster_ips = {ip("10.96.7.7")};
  model::Service younger = web();
  younger.created = 2;
  for (model::Service* service : {&older, &younger}) {
    service->external_ips = {ip("203.0.113.9")};
    service->has_external_ips = true;
  }
  post(with({older, younger}));
  step_after(settings_.min_sync_period);
  EXPECT_EQ(reported, std::vector<std::string>{"shop/web:p: 203.0.113.9:80 is shop/api's, which is older"});
  ASSERT_EQ(loop_->status().families[0].refusals.size(), 1U);
  EXPECT_EQ(metric4("sluice_refused_addresses"), 1.0);
  model::Update gone;
  gone.services_removed = {older.key};
  post(std::move(gone));
  step_after(settings_.min_sync_period);
  EXPECT_TRUE(loop_->status().families[0].refusals.empty());
  EXPECT_EQ(metric4("sluice_refused_addresses"), 0.0);
  EXPECT_EQ(reported.size(), 1U);
}

}  // namespace
}  // namespace sluice::sync
