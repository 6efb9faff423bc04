// SPDX-License-Identifier: Apache-2.0
// One transition, whatever was there before: a dead process, another mode, a plane of this process.
#include <gmock/gmock.h>

#include "sync/loop_fixture.h"

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;
using dataplane::FakeDataPlane;
using dataplane::FakeKernel;
using testing::ElementsAre;
using testing::IsEmpty;

class ControlLoopSuccessionTest : public test::LoopFixture {
 protected:
  // A plane of mode "other" for IPv4, beside the one that serves.
  FakeDataPlane* begin_other() {
    auto plane = std::make_unique<FakeDataPlane>(Family::kIPv4, other_kernel_);
    plane->mode = "other";
    FakeDataPlane* begun = plane.get();
    loop_->begin(std::move(plane));
    return begun;
  }
  [[nodiscard]] std::vector<PlaneStage> stages() const { return loop_->status().families[0].planes; }
  void run_sweep() {
    constexpr int kStepsMax = 50;
    for (int i = 0; i < kStepsMax && wake_ <= clock_.steady_now(); ++i) step();
    EXPECT_GT(wake_, clock_.steady_now());
  }
  FakeKernel other_kernel_;
};

TEST_F(ControlLoopSuccessionTest, WhatOthersLeftGoesWhenEveryFamilyIsServedAndInPieces) {
  other_mode_.objects = {"a", "b", "c"};
  other_mode_.piece = 2;
  make_loop();
  v6().failures = 1;
  post(complete(with({web()}, {web_slice({"10.1.0.1"}), web_slice6({"fd01::1"})})));
  step();
  EXPECT_EQ(other_mode_.looks, 0u) << "IPv6 is not programmed yet";
  step_after(settings_.sync_period);
  run_sweep();
  EXPECT_THAT(other_mode_.objects, IsEmpty());
  EXPECT_EQ(other_mode_.removals, 2u);
  EXPECT_THAT(mode_mechanism_.served_when_looked, ElementsAre(Family::kIPv4, Family::kIPv6));
  EXPECT_THAT(other_mode_.served_when_looked, IsEmpty());
  post(with({}, {web_slice({"10.1.0.2"})}));
  step_after(1h);
  EXPECT_EQ(other_mode_.looks, 1u) << "all is done";
}

TEST_F(ControlLoopSuccessionTest, WithoutAPlaneNothingIsTakenAway) {
  other_mode_.objects = {"a"};
  loop_ = std::make_unique<ControlLoop>(settings_, hooks_, clock_, metrics_, health_,
                                        std::vector<std::unique_ptr<dataplane::DataPlane>>{},
                                        std::vector<dataplane::Mechanism*>{&other_mode_});
  post(complete());
  step();
  EXPECT_EQ(other_mode_.looks, 0u);
}

TEST_F(ControlLoopSuccessionTest, APlaneComesServesAndTheModeOfTheOldOneIsSweptWhenThatIsGone) {
  start_with_web();
  run_sweep();
  mode_mechanism_.objects = {"left by the plane that retires"};
  const std::size_t looks = mode_mechanism_.looks;
  FakeDataPlane* begun = begin_other();
  v4().tend_again = 10s;
  step();
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"other", Stage::kServing}, PlaneStage{"fake", Stage::kRetiring}));
  EXPECT_TRUE(kernels_[0].retired);
  EXPECT_EQ(other_kernel_.live.size(), 1u);
  // What changes now goes to the new plane alone.
  post(with({}, {web_slice({"10.1.0.2"})}));
  step_after(settings_.min_sync_period);
  run_sweep();
  EXPECT_FALSE(begun->last().full);
  EXPECT_EQ(mode_mechanism_.looks, looks) << "its plane retires";

  v4().tend_again.reset();
  planes_[0] = nullptr;  // it goes
  step_after(10s);
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"other", Stage::kServing}));
  run_sweep();
  EXPECT_THAT(mode_mechanism_.served_when_looked, ElementsAre(Family::kIPv6));
  EXPECT_THAT(mode_mechanism_.objects, IsEmpty());
}

TEST_F(ControlLoopSuccessionTest, WhatDoesNotEndInTimeIsEndedAndSwept) {
  settings_.drain_timeout = 1min;
  start_with_web();
  run_sweep();
  mode_mechanism_.objects = {"left by the plane that retires"};
  mode_mechanism_.connections = 7;
  mode_mechanism_.drain_timeout = 1min;
  begin_other();
  v4().tend_again = 10s;
  step();
  clock_.advance(59s);
  run_sweep();
  EXPECT_THAT(mode_mechanism_.objects, testing::SizeIs(1));
  planes_[0] = nullptr;
  step_after(1s);
  run_sweep();
  EXPECT_THAT(mode_mechanism_.objects, IsEmpty()) << "the time that the plane had is not given a second time";
}

TEST_F(ControlLoopSuccessionTest, APlaneThatCannotBeProgrammedTakesNothingOver) {
  start_with_web();
  run_sweep();
  mode_mechanism_.objects = {"of the plane that serves"};
  FakeDataPlane* begun = begin_other();
  begun->failures = 100;
  for (int i = 0; i < 10; ++i) {
    post(with({}, {web_slice({"10.1.0." + std::to_string(2 + i)})}));
    step_after(settings_.sync_period);
    run_sweep();
  }
  EXPECT_THAT(stages(), ElementsAre(PlaneStage{"fake", Stage::kServing}, PlaneStage{"other", Stage::kProgramming}));
  EXPECT_FALSE(kernels_[0].retired);
  EXPECT_EQ(kernels_[0].live.begin()->second->real_servers.front().to_string(), "10.1.0.11:8080");
  EXPECT_THAT(mode_mechanism_.objects, testing::SizeIs(1));
  EXPECT_TRUE(health_.healthy());
  EXPECT_TRUE(loop_->status().families[0].synced);
}

}  // namespace
}  // namespace sluice::sync
