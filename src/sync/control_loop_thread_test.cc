// SPDX-License-Identifier: Apache-2.0
// The control loop on its own thread and on the machine's clock. Nothing here depends on how long things take:
// each awaited event happens, or the test fails after a generous bound.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "sync/loop_fixture.h"

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;
using namespace test;
using testing::SizeIs;

class ControlLoopThreadTest : public LoopFixture {
 protected:
  ControlLoopThreadTest() { settings_.min_sync_period = 0s; }
  void TearDown() override {
    stop();
    LoopFixture::TearDown();
  }

  void run() {
    std::vector<std::unique_ptr<dataplane::DataPlane>> planes;
    for (const Family family : kFamilies) {
      const auto index = static_cast<std::size_t>(family);
      auto plane = std::make_unique<FakeDataPlane>(family, kernels_[index]);
      planes_[index] = plane.get();
      planes.push_back(std::move(plane));
    }
    loop_ = std::make_unique<ControlLoop>(settings_, hooks_, system_clock(), metrics_, health_, std::move(planes));
    thread_ = std::thread([this] { loop_->run(); });
  }
  void stop() {
    if (!thread_.joinable()) return;
    loop_->stop();
    thread_.join();
  }

  template <typename Condition>
  static bool eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + 60s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }

  std::thread thread_;
};

TEST_F(ControlLoopThreadTest, WhatManyThreadsPostIsAllProgrammed) {
  run();
  post(complete());
  std::vector<std::thread> sources;
  for (int source = 0; source < 4; ++source) {
    sources.emplace_back([this, source] {
      for (int i = 0; i < 50; ++i)
        post(with({make_service(fmt::format("s{}-{}", source, i), {service_port("p", 80)})}));
    });
  }
  for (std::thread& source : sources) source.join();
  EXPECT_TRUE(eventually([this] { return loop_->status().served.size() == 200; }));
  stop();
  EXPECT_THAT(kernels_[0].live, SizeIs(200));
}

TEST_F(ControlLoopThreadTest, ARetryHappensByItself) {
  settings_.sync_period = 20ms;
  run();
  post(complete());
  ASSERT_TRUE(eventually([this] { return loop_->status().families.at(0).synced; }));
  // The planes belong to the loop's thread: they are changed from there.
  auto failing = std::make_shared<std::promise<void>>();
  loop_->compare([this, failing](const std::vector<FamilyComparison>&) {
    v4().failures = 3;
    failing->set_value();
  });
  failing->get_future().wait();
  post(with({web()}));
  EXPECT_TRUE(eventually([this] {
    const LoopStatus status = loop_->status();
    return status.families.at(0).failed_syncs == 3 && status.families.at(0).service_ports == 1;
  }));
}

TEST_F(ControlLoopThreadTest, AnIdleLoopStopsAtOnceAndLeavesTheRules) {
  run();
  post(complete(with({web()})));
  ASSERT_TRUE(eventually([this] { return loop_->status().served.size() == 2; }));
  stop();
  EXPECT_THAT(kernels_[0].live, SizeIs(1));
  EXPECT_TRUE(kernels_[0].canary);
}

TEST_F(ControlLoopThreadTest, StopWaitsForTheRunningApplyAndBeginsNoOther) {
  std::promise<void> applying;
  std::promise<void> may_go_on;
  std::vector<std::unique_ptr<dataplane::DataPlane>> planes;
  for (const Family family : kFamilies) {
    auto plane = std::make_unique<FakeDataPlane>(family, kernels_[static_cast<std::size_t>(family)]);
    planes_[static_cast<std::size_t>(family)] = plane.get();
    planes.push_back(std::move(plane));
  }
  v4().during_apply = [&] {
    applying.set_value();
    may_go_on.get_future().wait();
  };
  loop_ = std::make_unique<ControlLoop>(settings_, hooks_, system_clock(), metrics_, health_, std::move(planes));
  thread_ = std::thread([this] { loop_->run(); });
  post(complete(with({web()})));
  applying.get_future().wait();
  loop_->stop();
  may_go_on.set_value();
  thread_.join();
  EXPECT_THAT(kernels_[0].live, SizeIs(1));
  EXPECT_THAT(v6().applied, testing::IsEmpty());
}

TEST_F(ControlLoopThreadTest, AFatalHookMayStopTheLoop) {
  settings_.pod_cidrs = std::vector<Cidr>{cidr("10.1.0.0/24")};
  hooks_.fatal = [this](const std::string&) { loop_->stop(); };
  run();
  model::Update update;
  update.node = this_node();
  post(std::move(update));
  thread_.join();
}

TEST_F(ControlLoopThreadTest, ComparisonsWorkFromAnyThreadAndAreRefusedAfterTheEnd) {
  run();
  post(complete(with({web()})));
  ASSERT_TRUE(eventually([this] { return loop_->status().served.size() == 2; }));
  auto future = loop_->compare();
  ASSERT_EQ(future.wait_for(60s), std::future_status::ready);
  EXPECT_TRUE(future.get().at(0).difference);
  stop();
  auto late = loop_->compare();
  ASSERT_EQ(late.wait_for(0s), std::future_status::ready);
  EXPECT_FALSE(late.get().at(0).difference);
}

}  // namespace
}  // namespace sluice::sync
