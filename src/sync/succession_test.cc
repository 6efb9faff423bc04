// SPDX-License-Identifier: Apache-2.0
// One data plane takes over from another, on a clock that the test moves.
#include "sync/succession.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "dataplane/fake_data_plane.h"
#include "plan/test_objects.h"

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;
using dataplane::FakeDataPlane;
using dataplane::FakeKernel;
using plan::test::make_service;
using plan::test::make_slice;
using plan::test::service_port;
using plan::test::slice_port;
using testing::ElementsAre;
using testing::IsEmpty;

class SuccessionTest : public testing::Test {
 protected:
  SuccessionTest() {
    settings_.min_sync_period = 0s;
    settings_.plan.node_name = "self";
    snapshot_.apply(update({"10.1.0.1"}));
    (void)planner_.replan_all(snapshot_, {});
  }
  void TearDown() override {
    for (const FakeDataPlane* plane : {first_, second_}) {
      if (plane != nullptr) {
        EXPECT_EQ(plane->violations, std::vector<std::string>{});
      }
    }
  }

  static model::Update update(const std::vector<std::string>& endpoints) {
    model::Update update;
    update.services = {make_service("web", {service_port("p", 80)})};
    update.slices = {make_slice("web-1", "web", {slice_port("p", 8080)}, endpoints)};
    update.services_complete = update.slices_complete = true;
    return update;
  }
  void endpoints(const std::vector<std::string>& addresses) {
    const model::Touched touched = snapshot_.apply(update(addresses));
    for (const plan::Change& change : planner_.update(snapshot_, touched.services)) planes().note(change);
    planes().request();
  }

  std::unique_ptr<FakeDataPlane> make(const std::string& mode, FakeKernel& kernel) {
    auto plane = std::make_unique<FakeDataPlane>(Family::kIPv4, kernel);
    plane->mode = mode;
    return plane;
  }
  Succession& planes() { return *planes_; }
  // One plane that serves.
  void start(const std::string& mode = "old") {
    auto plane = make(mode, old_kernel_);
    first_ = plane.get();
    planes_.emplace(context_, Family::kIPv4);
    planes().begin(std::move(plane));
    planes().step(planner_);
    ASSERT_THAT(stages(), ElementsAre(PlaneStage{mode, Stage::kServing}));
  }
  void succeed(const std::string& mode = "new") {
    auto plane = make(mode, new_kernel_);
    second_ = plane.get();
    planes().begin(std::move(plane));
  }
  [[nodiscard]] std::vector<PlaneStage> stages() const { return planes_->status().planes; }
  // Whether the metrics have this line for IPv4.
  [[nodiscard]] testing::AssertionResult shows(const std::string& name, int value,
                                               const std::string& table = "") const {
    const std::string labels = table.empty() ? "" : fmt::format(",table=\"{}\"", table);
    const std::string line = fmt::format("\n{}{{ip_family=\"IPv4\"{}}} {}\n", name, labels, value);
    const std::string text = metrics_.text();
    if (text.find(line) != std::string::npos) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "no" << line << "in" << text;
  }

  FakeClock clock_;
  observe::Metrics metrics_;
  observe::Health health_{clock_, 60s};
  LoopSettings settings_;
  LoopHooks hooks_;
  SyncContext context_{settings_, hooks_, clock_, clock_.wall_now(), metrics_, health_};
  model::Snapshot snapshot_;
  plan::Planner planner_{settings_.plan};
  FakeKernel old_kernel_;
  FakeKernel new_kernel_;
  FakeDataPlane* first_ = nullptr;
  FakeDataPlane* second_ = nullptr;
  std::optional<Succession> planes_;
};

TEST_F(SuccessionTest, WithoutAPlaneAFamilyIsAbsent) {
  planes_.emplace(context_, Family::kIPv6);
  planes().request();
  EXPECT_FALSE(planes().step(planner_).synced);
  EXPECT_EQ(planes().next_wake(), std::nullopt);
  EXPECT_THAT(stages(), IsEmpty());
  EXPECT_EQ(planes().status().family, Family::kIPv6);
  EXPECT_EQ(planes().current(), nullptr);
}

TEST_F(SuccessionTest, TheFirstPlaneServesFromItsFirstSync) {
  auto plane = make("old", old_kernel_);
  first_ = plane.get();
  first_->failures = 1;
  planes_.emplace(context_, Family::kIPv4);
  planes().begin(std::move(plane));
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"old", Stage::kProgramming}));
  planes().step(planner_);
  EXPECT_FALSE(planes().serving());
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"old", Stage::kProgramming}));
  clock_.advance(settings_.sync_period);
  planes().step(planner_);
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"old", Stage::kServing}));
}

TEST_F(SuccessionTest, TheOldPlaneServesUntilTheNewOneIsProgrammed) {
  start();
  succeed();
  second_->failures = 1;
  planes().step(planner_);
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"old", Stage::kServing}, PlaneStage{"new", Stage::kProgramming}));
  EXPECT_FALSE(old_kernel_.retired);
  // What changes meanwhile is programmed in the one that serves.
  endpoints({"10.1.0.2"});
  planes().step(planner_);
  EXPECT_EQ(old_kernel_.live.begin()->second->real_servers.front().to_string(), "10.1.0.2:8080");
  EXPECT_EQ(planes().status().data_plane, "old");
  EXPECT_FALSE(old_kernel_.retired);

  clock_.advance(settings_.sync_period);
  planes().step(planner_);
  EXPECT_EQ(planes().status().data_plane, "new");
  EXPECT_TRUE(old_kernel_.retired);
  EXPECT_EQ(new_kernel_.live.begin()->second->real_servers.front().to_string(), "10.1.0.2:8080");
  first_ = nullptr;  // nothing was left to tend
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"new", Stage::kServing}));
}

TEST_F(SuccessionTest, ARetiringPlaneIsTendedWhenDueAndEndsWithItsLastConnection) {
  start();
  succeed();
  first_->tend_again = 10s;
  planes().step(planner_);
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"new", Stage::kServing}, PlaneStage{"old", Stage::kRetiring}));
  const std::size_t tended = first_->tended;
  clock_.advance(9s);
  planes().step(planner_);
  EXPECT_EQ(first_->tended, tended);
  EXPECT_LE(*planes().next_wake(), clock_.steady_now() + 1s);
  clock_.advance(1s);
  planes().step(planner_);
  EXPECT_EQ(first_->tended, tended + 1);
  const std::size_t applied = first_->applied.size();
  endpoints({"10.1.0.3"});
  planes().step(planner_);
  EXPECT_EQ(first_->applied.size(), applied) << "nothing new for a retiring plane";
  first_->tend_again.reset();
  clock_.advance(10s);
  planes().step(planner_);
  first_ = nullptr;
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"new", Stage::kServing}));
}

TEST_F(SuccessionTest, ARetirementThatFailsIsRetriedEverySyncPeriod) {
  start();
  succeed();
  first_->retire_fails = true;
  planes().step(planner_);
  EXPECT_FALSE(old_kernel_.retired);
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"new", Stage::kServing}, PlaneStage{"old", Stage::kRetiring}));
  first_->retire_fails = false;
  clock_.advance(settings_.sync_period - 1s);
  planes().step(planner_);
  EXPECT_FALSE(old_kernel_.retired);
  clock_.advance(1s);
  planes().step(planner_);
  EXPECT_TRUE(old_kernel_.retired);
  first_ = nullptr;
}

TEST_F(SuccessionTest, ARetiringPlaneIsGoneAtItsDeadlineWhateverItSays) {
  settings_.drain_timeout = 1min;
  for (const bool tend_fails : {false, true}) {
    for (const bool retire_fails : {false, true}) {
      SCOPED_TRACE(testing::Message() << "tend fails: " << tend_fails << ", retire fails: " << retire_fails);
      start();
      succeed();
      first_->tend_again = 45s;
      first_->tend_fails = tend_fails;
      first_->retire_fails = retire_fails;
      planes().step(planner_);
      const auto retiring = ElementsAre(PlaneStage{"new", Stage::kServing}, PlaneStage{"old", Stage::kRetiring});
      for (int second = 0; second < 60; ++second) {
        EXPECT_THAT(stages(), retiring);
        EXPECT_LE(*planes().next_wake(), clock_.steady_now() + std::chrono::seconds(60 - second));
        clock_.advance(1s);
        planes().step(planner_);
      }
      first_ = nullptr;
      EXPECT_THAT(stages(), ElementsAre(PlaneStage{"new", Stage::kServing}));
    }
  }
}

TEST_F(SuccessionTest, WhichModesAreInUseFollowsTheStages) {
  const auto in_use = [this] {
    ModesInUse modes;
    planes().add_in_use(modes);
    return modes;
  };
  const ModeInUse serves{{Family::kIPv4}, false};
  const ModeInUse changes{{}, true};
  start();
  EXPECT_EQ(in_use(), (ModesInUse{{"old", serves}}));
  succeed();
  EXPECT_EQ(in_use(), (ModesInUse{{"old", serves}, {"new", changes}}));
  first_->tend_again = 10s;
  planes().step(planner_);
  EXPECT_EQ(in_use(), (ModesInUse{{"old", changes}, {"new", serves}}));
  first_->tend_again.reset();
  clock_.advance(10s);
  planes().step(planner_);
  first_ = nullptr;
  EXPECT_EQ(in_use(), (ModesInUse{{"new", serves}}));
}

TEST_F(SuccessionTest, ASuccessorThatNeverServedGivesWayToTheNext) {
  start();
  succeed();
  second_->failures = 100;
  planes().step(planner_);
  second_ = nullptr;
  FakeKernel third;
  auto plane = make("third", third);
  planes().begin(std::move(plane));
  planes().step(planner_);
  first_ = nullptr;
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"third", Stage::kServing}));
  EXPECT_TRUE(old_kernel_.retired);
}

TEST_F(SuccessionTest, GaugesAndEventsAreThoseOfTheServingPlane) {
  std::size_t refused = 0;
  hooks_.address_refused = [&refused](const dataplane::Refusal&) { ++refused; };
  start();
  EXPECT_TRUE(shows("sluice_refused_addresses", 0));
  succeed();
  second_->failures = 1;
  second_->refused = {{{}, {}, "the node itself needs it"}};
  second_->refuse = [](const plan::ServicePortKey&) { return "not here"; };
  planes().step(planner_);
  EXPECT_TRUE(shows("sluice_refused_addresses", 0)) << "the old plane serves it";
  EXPECT_EQ(refused, 0u);

  clock_.advance(settings_.sync_period);
  planes().step(planner_);
  first_ = nullptr;
  EXPECT_TRUE(shows("sluice_refused_addresses", 1));
  EXPECT_TRUE(shows("sluice_refused_service_ports", 1));
  EXPECT_EQ(refused, 1u);
}

TEST_F(SuccessionTest, ThePlaneThatTakesOverShowsItsRulesAndOneThatIsGoneHasNone) {
  const std::string rules = "kubeproxy_sync_proxy_rules_iptables_total";
  start("iptables");
  EXPECT_TRUE(shows(rules, 1, "nat"));
  succeed("ipvs");
  EXPECT_TRUE(shows("sluice_ipvs_sync_failures_total", 0)) << "an alert on its growth needs the 0";
  first_->tend_again = 10s;
  planes().step(planner_);
  EXPECT_TRUE(shows(rules, 1, "nat")) << "they carry the connections that are left";
  EXPECT_TRUE(shows("sluice_ipvs_helper_rules", 1));
  first_->tend_again.reset();
  clock_.advance(10s);
  planes().step(planner_);
  first_ = nullptr;
  EXPECT_TRUE(shows(rules, 0, "nat"));
  EXPECT_TRUE(shows("sluice_ipvs_helper_rules", 1));
}

TEST_F(SuccessionTest, ARetiringPlaneLeavesTheRulesOfItsSuccessorInTheSameModeAlone) {
  const std::string rules = "kubeproxy_sync_proxy_rules_iptables_total";
  start("iptables");
  succeed("iptables");
  planes().step(planner_);
  first_ = nullptr;
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"iptables", Stage::kServing}));
  EXPECT_TRUE(shows(rules, 1, "nat"));
}

TEST_F(SuccessionTest, WhatIsServedIsThatOfTheServingPlane) {
  start();
  succeed();
  second_->failures = 1;
  planes().step(planner_);
  std::vector<plan::ServicePortPlanPtr> served;
  planes().append_served(served);
  EXPECT_EQ(served.size(), 1u);
}

}  // namespace
}  // namespace sluice::sync
