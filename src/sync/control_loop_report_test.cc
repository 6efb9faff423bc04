// SPDX-License-Identifier: Apache-2.0
// What the control loop reports to the rest of the program, and what it does after a sync: health, metrics,
// health-check node ports, UDP flows, status, comparisons.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sync/loop_fixture.h"

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;
using namespace test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class ControlLoopReportTest : public LoopFixture {
 protected:
  // A Service with a health-check node port, and its one endpoint.
  static model::Service balanced() {
    model::Service service = make_service("balanced", {service_port("p", 80, Protocol::kTcp, 30080)}, {"10.96.0.7"});
    service.type = model::ServiceType::kLoadBalancer;
    service.external_traffic_policy = model::TrafficPolicy::kLocal;
    service.health_check_node_port = 32000;
    return service;
  }
  static model::EndpointSlice balanced_slice(const std::vector<std::string>& endpoints) {
    return make_slice("balanced-4", "balanced", {slice_port("p", 8080)}, endpoints);
  }
  static model::EndpointSlice triggered(model::EndpointSlice slice, Clock::WallTime when) {
    slice.last_change_trigger_ns =
        std::chrono::duration_cast<std::chrono::nanoseconds>(when.time_since_epoch()).count();
    return slice;
  }
  static model::Service dns() { return make_service("dns", {service_port("dns", 53, Protocol::kUdp)}, {"10.96.0.10"}); }
  static model::EndpointSlice dns_slice(const std::vector<std::string>& endpoints) {
    return make_slice("dns-4", "dns", {slice_port("dns", 5353, Protocol::kUdp)}, endpoints);
  }
  // A flow from a pod to the cluster IP of dns that was sent to `real_server`:5353.
  static sys::Flow dns_flow(const char* real_server) {
    return {Protocol::kUdp, ip("10.1.9.9"), ip("10.96.0.10"), ip(real_server), 40000, 53, 5353, 0};
  }
  std::vector<std::string> flows_left() const {
    std::vector<std::string> left;
    for (const sys::Flow& flow : flows_) left.push_back(flow.reply_source.to_string());
    return left;
  }
};

TEST_F(ControlLoopReportTest, AFamilyThatCannotBeProgrammedTurnsUnhealthyUntilItCan) {
  start_with_web();
  EXPECT_TRUE(health_.healthy());
  v4().failures = 4;  // the partial sync, and full ones after 1, 31 and 61 seconds
  post(with({}, {web_slice({"10.1.0.2"})}));
  step();
  for (int i = 0; i < 62; ++i) step_after(1s);
  EXPECT_FALSE(health_.healthy());
  for (int i = 0; i < 30; ++i) step_after(1s);
  EXPECT_EQ(v4().failures, 0);
  EXPECT_TRUE(health_.healthy());
}

TEST_F(ControlLoopReportTest, NodeEligibilityFollowsTheNode) {
  make_loop();
  EXPECT_EQ(health_.healthz().status, 503) << "the Node is not known";
  const auto after = [this](const std::function<void(model::Node&)>& change) {
    model::Update update;
    update.node = this_node();
    change(*update.node);
    post(std::move(update));
    step();
    return health_.healthz().status;
  };
  EXPECT_EQ(after([](model::Node&) {}), 200) << "also before the lists are complete";
  EXPECT_EQ(after([](model::Node& node) { node.taint_keys = {"other", "ToBeDeletedByClusterAutoscaler"}; }), 503);
  EXPECT_EQ(after([](model::Node& node) { node.taint_keys = {"other"}; }), 200);
  EXPECT_EQ(after([](model::Node& node) { node.deleting = true; }), 503);
  EXPECT_EQ(after([](model::Node&) {}), 200);
  model::Update gone;
  gone.node_removed = true;
  post(std::move(gone));
  step();
  EXPECT_EQ(health_.healthz().status, 200) << "its last state counts";
}

TEST_F(ControlLoopReportTest, SyncsAreCountedByKindAndFamily) {
  mode_ = "iptables";
  start_with_web();
  post(with({}, {web_slice({"10.1.0.2"})}));
  step();
  v4().failures = 1;
  post(with({}, {web_slice({"10.1.0.3"})}));
  step_after(1s);
  EXPECT_EQ(metric4("kubeproxy_sync_full_proxy_rules_duration_seconds_count"), 1);
  EXPECT_EQ(metric4("kubeproxy_sync_partial_proxy_rules_duration_seconds_count"), 2);
  EXPECT_EQ(metric4("kubeproxy_sync_proxy_rules_duration_seconds_count"), 3);
  EXPECT_EQ(metric4("kubeproxy_sync_proxy_rules_iptables_restore_failures_total"), 1);
  EXPECT_EQ(metric4("kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total"), 1);
  EXPECT_EQ(metric("kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"}"), 1);
}

TEST_F(ControlLoopReportTest, TimestampsAreOfTheLastSuccessAndTheLastRequest) {
  start_with_web();
  const auto seconds = [](Clock::WallTime when) {
    return std::chrono::duration<double>(when.time_since_epoch()).count();
  };
  const double synced = seconds(clock_.wall_now()) - 1;
  EXPECT_EQ(metric4("kubeproxy_sync_proxy_rules_last_timestamp_seconds"), synced);
  v4().failures = 1;
  post(with({}, {web_slice({"10.1.0.2"})}));
  step();
  EXPECT_EQ(metric4("kubeproxy_sync_proxy_rules_last_timestamp_seconds"), synced);
  EXPECT_EQ(metric4("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds"), synced + 1);
}

TEST_F(ControlLoopReportTest, RulesAreReportedByTable) {
  mode_ = "iptables";
  start_with_web();
  post(with({make_service("more", {service_port("p", 81)}, {"10.96.0.2"})}));
  step();
  EXPECT_EQ(metric("kubeproxy_sync_proxy_rules_iptables_total{ip_family=\"IPv4\",table=\"nat\"}"), 2);
  EXPECT_EQ(metric("kubeproxy_sync_proxy_rules_iptables_last{ip_family=\"IPv4\",table=\"nat\"}"), 1);
}

TEST_F(ControlLoopReportTest, PendingChangesAreCountedUntilTheyAreProgrammed) {
  start_with_web();
  EXPECT_EQ(metric("kubeproxy_sync_proxy_rules_service_changes_pending"), 0);
  v4().failures = 1;
  post(with({web(81)}, {web_slice({"10.1.0.2"})}));
  post(with({web(82)}, {web_slice({"10.1.0.3"})}));
  step();
  EXPECT_EQ(metric("kubeproxy_sync_proxy_rules_service_changes_pending"), 1);
  EXPECT_EQ(metric("kubeproxy_sync_proxy_rules_endpoint_changes_pending"), 2);
  EXPECT_EQ(metric("kubeproxy_sync_proxy_rules_service_changes_total"), 3);
  EXPECT_EQ(metric("kubeproxy_sync_proxy_rules_endpoint_changes_total"), 4);
  step_after(30s);
  EXPECT_EQ(metric("kubeproxy_sync_proxy_rules_service_changes_pending"), 0);
  EXPECT_EQ(metric("kubeproxy_sync_proxy_rules_endpoint_changes_pending"), 0);
}

// kube-proxy's TestLastChangeTriggerTime, as far as the loop is concerned.
TEST_F(ControlLoopReportTest, ProgrammingLatencyIsMeasuredFromTheTriggerTimes) {
  start_with_web();
  const char* const count = "kubeproxy_network_programming_duration_seconds_count";
  const char* const sum = "kubeproxy_network_programming_duration_seconds_sum";
  const Clock::WallTime start = clock_.wall_now();
  post(with({}, {triggered(web_slice({"10.1.0.2"}), start)}));
  clock_.advance(3s);
  step();
  EXPECT_EQ(metric4(count), 1);
  EXPECT_EQ(metric4(sum), 3);

  post(with({}, {triggered(web_slice({"10.1.0.3"}), start - 1h)}));
  step_after(1s);
  EXPECT_EQ(metric4(count), 1) << "older than the process";
  post(with({}, {web_slice({"10.1.0.4"})}));
  step_after(1s);
  EXPECT_EQ(metric4(count), 1) << "no annotation";

  v4().failures = 1;
  post(with({}, {triggered(web_slice({"10.1.0.5"}), clock_.wall_now())}));
  step_after(1s);
  post(with({}, {triggered(web_slice({"10.1.0.6"}), clock_.wall_now())}));
  step_after(1s);
  EXPECT_EQ(metric4(count), 3) << "both, when they are programmed at last";
  EXPECT_EQ(metric4(sum), 3 + 2 + 1);
  EXPECT_FALSE(metric("kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv6\"}").value_or(0) > 0);
}

TEST_F(ControlLoopReportTest, ATriggerTimeCountsOnceHoweverManyPortsAServiceHas) {
  start_with_web();
  model::EndpointSlice slice = make_slice("many-4", "many", {slice_port("a", 1), slice_port("b", 2)}, {"10.1.0.1"});
  post(with({make_service("many", {service_port("a", 81), service_port("b", 82)}, {"10.96.0.3"})},
            {triggered(slice, clock_.wall_now())}));
  step();
  EXPECT_EQ(metric4("kubeproxy_network_programming_duration_seconds_count"), 1);
}

TEST_F(ControlLoopReportTest, TriggerTimesOfADeletedSliceAreForgotten) {
  start_with_web();
  v4().failures = 1;
  post(with({}, {triggered(web_slice({"10.1.0.5"}), clock_.wall_now())}));
  step();
  model::Update update;
  update.slices_removed.push_back({"shop", "web-4"});
  post(std::move(update));
  step_after(30s);
  EXPECT_FALSE(v4().last().ports.empty());
  EXPECT_EQ(metric4("kubeproxy_network_programming_duration_seconds_count").value_or(0), 0);
}

// kube-proxy's TestNoEndpointsMetric, as far as the loop is concerned.
TEST_F(ControlLoopReportTest, ServicesWithoutLocalEndpointsAreCounted) {
  make_loop();
  post(complete(with({balanced()}, {balanced_slice({"10.1.0.1 @other"})})));
  step();
  const char* const external =
      "kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"external\"}";
  EXPECT_EQ(metric(external), 1);
  EXPECT_EQ(
      metric("kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",traffic_policy=\"internal\"}"), 0);
  post(with({}, {balanced_slice({"10.1.0.1 @self"})}));
  step_after(1s);
  EXPECT_EQ(metric(external), 0);
}

TEST_F(ControlLoopReportTest, HealthCheckNodePortsFollowASuccessfulSync) {
  make_loop();
  v4().failures = 1;
  v6().failures = 1;
  post(complete(with({balanced()}, {balanced_slice({"10.1.0.1 @self", "10.1.0.2 @other"})})));
  step();
  EXPECT_THAT(health_checks_, IsEmpty());
  step_after(30s);
  ASSERT_FALSE(health_checks_.empty());
  EXPECT_THAT(health_checks_.back(), ElementsAre(observe::HealthCheck{"shop", "balanced", 32000, 1}));
  model::Update update;
  update.services_removed.push_back({"shop", "balanced"});
  post(std::move(update));
  step_after(1s);
  EXPECT_THAT(health_checks_.back(), IsEmpty());
}

TEST_F(ControlLoopReportTest, HealthChecksAreOfTheFamiliesThatServe) {
  make_loop();
  model::Service both = balanced();
  both.cluster_ips.push_back(ip("fd00::7"));
  const auto six = make_slice("balanced-6", "balanced", {slice_port("p", 8080)}, {"fd00:1::1 @other"}, Family::kIPv6);
  post(complete(with({both}, {balanced_slice({"10.1.0.1 @self"}), six})));
  step();
  EXPECT_THAT(health_checks_.back(), ElementsAre(observe::HealthCheck{"shop", "balanced", 32000, 1, Family::kIPv4},
                                                 observe::HealthCheck{"shop", "balanced", 32000, 0, Family::kIPv6}));
}

TEST_F(ControlLoopReportTest, HealthChecksThatChangeWithoutAnyRuleAreReportedToo) {
  make_loop();
  // A terminating pod keeps serving while there is no other, so the rules stay; but it does not count as ready.
  post(complete(with({balanced()}, {balanced_slice({"10.1.0.1 @self"})})));
  step();
  EXPECT_EQ(health_checks_.back().at(0).local_endpoints, 1u);
  post(with({}, {balanced_slice({"10.1.0.1 @self unready serving terminating"})}));
  step_after(1s);
  EXPECT_THAT(v4().applied, SizeIs(1));
  EXPECT_EQ(health_checks_.back().at(0).local_endpoints, 0u);
  const std::size_t told = health_checks_.size();
  step_after(1s);
  EXPECT_THAT(health_checks_, SizeIs(told));
}

TEST_F(ControlLoopReportTest, StaleUdpFlowsAreDeletedAfterTheRulesHaveChanged) {
  make_loop();
  post(complete(with({dns()}, {dns_slice({"10.1.0.1", "10.1.0.2"})})));
  step();
  dumps_.clear();
  flows_ = {dns_flow("10.1.0.1"), dns_flow("10.1.0.2")};
  std::size_t flows_during_apply = 0;
  v4().during_apply = [&] { flows_during_apply = flows_.size(); };
  post(with({}, {dns_slice({"10.1.0.2"})}));
  step_after(1s);
  EXPECT_EQ(flows_during_apply, 2u);
  EXPECT_THAT(flows_left(), ElementsAre("10.1.0.2"));
  EXPECT_THAT(dumps_, ElementsAre(Family::kIPv4));
  EXPECT_EQ(metric4("kubeproxy_conntrack_reconciler_deleted_entries_total"),
            2);  // the fake reports one per dump; the first was at start
}

TEST_F(ControlLoopReportTest, ServicesDownToZeroAndDeletedOnesLoseTheirFlows) {
  for (const bool deleted : {false, true}) {
    SCOPED_TRACE(deleted ? "deleted" : "down to zero");
    make_loop();
    post(complete(with({dns()}, {dns_slice({"10.1.0.1"})})));
    step();
    flows_ = {dns_flow("10.1.0.1"), dns_flow("10.1.0.7")};
    model::Update update = deleted ? model::Update{} : with({}, {dns_slice({})});
    if (deleted) update.services_removed.push_back({"shop", "dns"});
    post(std::move(update));
    step_after(1s);
    EXPECT_THAT(flows_left(), ElementsAre("10.1.0.7"));
  }
}

TEST_F(ControlLoopReportTest, ARestartDeletesOnlyFlowsToEndpointsThatAreGone) {
  make_loop();
  flows_ = {dns_flow("10.1.0.1"), dns_flow("10.1.0.2")};
  post(complete(with({dns()}, {dns_slice({"10.1.0.2"})})));
  step();
  EXPECT_THAT(flows_left(), ElementsAre("10.1.0.2"));
}

TEST_F(ControlLoopReportTest, PacketsThatPassedWhileTheRulesWereFlushedDoNotStayLost) {
  make_loop();
  post(complete(with({dns()}, {dns_slice({"10.1.0.1"})})));
  step();
  kernels_[0].flush();
  sys::Flow untranslated = dns_flow("10.96.0.10");
  untranslated.reply_source_port = untranslated.destination_port;
  flows_ = {dns_flow("10.1.0.1"), untranslated};
  step_after(30s);
  EXPECT_THAT(flows_left(), ElementsAre("10.1.0.1"));
}

TEST_F(ControlLoopReportTest, WithoutUdpTheTableIsNeverDumped) {
  start_with_web();
  post(with({}, {web_slice({"10.1.0.2"})}));
  step();
  EXPECT_THAT(dumps_, IsEmpty());
}

TEST_F(ControlLoopReportTest, AFailedSyncLeavesFlowsAloneAndTheNextOneCleansUp) {
  make_loop();
  post(complete(with({dns()}, {dns_slice({"10.1.0.1"})})));
  step();
  flows_ = {dns_flow("10.1.0.1"), dns_flow("10.1.0.5")};
  v4().failures = 1;
  v4().fail_after = 1;
  post(with({}, {dns_slice({"10.1.0.5"})}));
  step_after(1s);
  EXPECT_THAT(flows_, SizeIs(2));
  // Back to the old endpoint: what was live in between got flows too.
  post(with({}, {dns_slice({"10.1.0.1"})}));
  step_after(1s);
  EXPECT_THAT(flows_left(), ElementsAre("10.1.0.1"));
}

TEST_F(ControlLoopReportTest, ACleanUpThatFailsIsRetried) {
  make_loop();
  post(complete(with({dns()}, {dns_slice({"10.1.0.1"})})));
  step();
  flows_ = {dns_flow("10.1.0.1")};
  dumps_fail_ = true;
  post(with({}, {dns_slice({})}));
  step_after(1s);
  EXPECT_THAT(flows_, SizeIs(1));
  dumps_fail_ = false;
  step_after(30s);
  EXPECT_THAT(flows_, IsEmpty());
  dumps_.clear();
  step_after(30s);
  EXPECT_THAT(dumps_, IsEmpty());
}

TEST_F(ControlLoopReportTest, ACleanUpThatWaitsForASyncDoesNotKeepTheLoopAwake) {
  make_loop();
  post(complete(with({dns()}, {dns_slice({"10.1.0.1"})})));
  step();
  dumps_fail_ = true;
  post(with({}, {dns_slice({})}));
  step_after(1s);
  v4().failures = 1;
  post(with({}, {dns_slice({"10.1.0.2"})}));
  step_after(29s);
  step_after(1s);  // the clean-up is due, and the failed sync is not
  EXPECT_GT(wake_, clock_.steady_now());
}

TEST_F(ControlLoopReportTest, StatusHasCountsOutcomesAndWhatIsServed) {
  start_with_web();
  LoopStatus status = loop_->status();
  EXPECT_TRUE(status.lists_complete);
  EXPECT_EQ(status.services, 1u);
  EXPECT_EQ(status.slices, 2u);
  EXPECT_FALSE(status.node_known);
  ASSERT_THAT(status.families, SizeIs(2));
  EXPECT_EQ(status.families[0].data_plane, "fake");
  EXPECT_TRUE(status.families[0].synced);
  EXPECT_EQ(status.families[0].full_syncs, 1u);
  EXPECT_EQ(status.families[0].service_ports, 1u);
  EXPECT_EQ(status.families[0].real_servers, 1u);
  EXPECT_EQ(status.families[0].last_sync, clock_.wall_now() - 1s);
  ASSERT_THAT(status.served, SizeIs(2));
  EXPECT_EQ(status.served[0]->key.printed_name(), "shop/web:p");
  EXPECT_EQ(status.served[0]->cluster_frontend()->address, ip("10.96.0.1"));
  EXPECT_EQ(status.served[0]->real_servers.at(0).to_string(), "10.1.0.1:8080");
  EXPECT_EQ(status.served[1]->cluster_frontend()->address, ip("fd00::1"));

  v4().failures = 1;
  post(with({}, {web_slice({"10.1.0.2", "10.1.0.3"})}));
  step();
  status = loop_->status();
  EXPECT_EQ(status.families[0].failed_syncs, 1u);
  EXPECT_EQ(status.families[0].last_error, "the fake kernel is busy");
  EXPECT_EQ(status.families[0].changes_waiting, 1u);
  EXPECT_EQ(status.served[0]->real_servers.at(0).to_string(), "10.1.0.1:8080") << "as programmed, not as planned";

  step_after(30s);
  status = loop_->status();
  EXPECT_EQ(status.families[0].last_error, "");
  EXPECT_EQ(status.families[0].changes_waiting, 0u);
  EXPECT_EQ(status.families[0].real_servers, 2u);
  model::Update update;
  update.services_removed.push_back({"shop", "web"});
  post(std::move(update));
  step_after(1s);
  status = loop_->status();
  EXPECT_THAT(status.served, IsEmpty());
  EXPECT_EQ(status.families[0].service_ports, 0u);
  EXPECT_EQ(status.families[0].real_servers, 0u);
  EXPECT_EQ(status.families[0].partial_syncs, 1u);
}

TEST_F(ControlLoopReportTest, AComparisonReportsHowTheKernelDiffersAndChangesNothing) {
  make_loop();
  auto early = loop_->compare();
  step();
  const auto refused = early.get();
  ASSERT_THAT(refused, SizeIs(2));
  ASSERT_FALSE(refused[0].difference);
  EXPECT_EQ(refused[0].difference.error().code, Errc::kUnavailable);

  post(complete(with({web()})));
  step();
  kernels_[0].live.clear();
  auto future = loop_->compare();
  step();
  const auto compared = future.get();
  ASSERT_TRUE(compared.at(0).difference);
  EXPECT_THAT(compared[0].difference->missing, ElementsAre("shop/web:p"));
  EXPECT_TRUE(compared.at(1).difference->empty());
  EXPECT_THAT(kernels_[0].live, IsEmpty());
  EXPECT_THAT(v4().applied, SizeIs(1));
}

TEST_F(ControlLoopReportTest, ComparisonsAreBoundedAndAlwaysAnswered) {
  make_loop();
  std::vector<std::future<std::vector<FamilyComparison>>> waiting;
  for (int i = 0; i < 9; ++i) waiting.push_back(loop_->compare());
  ASSERT_EQ(waiting.back().wait_for(0s), std::future_status::ready);
  EXPECT_EQ(waiting.back().get().at(0).difference.error().code, Errc::kExhausted);
  EXPECT_NE(waiting.front().wait_for(0s), std::future_status::ready);
  planes_ = {};
  loop_.reset();
  ASSERT_EQ(waiting.front().wait_for(0s), std::future_status::ready);
  EXPECT_FALSE(waiting.front().get().at(0).difference);
}

}  // namespace
}  // namespace sluice::sync
