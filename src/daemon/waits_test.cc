// SPDX-License-Identifier: Apache-2.0
#include "daemon/waits.h"

#include <gtest/gtest.h>

#include <thread>

namespace sluice::daemon {
namespace {

const Clock::WallTime kThen{std::chrono::hours(24 * 365 * 50)};

class FakeSource : public kube::Source {
 public:
  void start() override {}
  [[nodiscard]] std::vector<kube::Waiting> waiting() const override { return waits; }
  std::vector<kube::Waiting> waits;
};

TEST(Waits, WhatTheSourceLacksIsSplitIntoWhatAndWhy) {
  FakeSource source;
  source.waits = {{kube::WaitsFor::kFolder, "/m", "No such file or directory", kThen},
                  {kube::WaitsFor::kObjects, "Service", "", kThen}};
  const auto waits = waits_of(source, NodeGate());
  ASSERT_EQ(waits.size(), 2U);
  EXPECT_EQ(waits[0].what, "folder /m");
  EXPECT_EQ(waits[0].why, "No such file or directory");
  EXPECT_EQ(waits[0].since, kThen);
  EXPECT_EQ(waits[1].what, "the list of Services");
  EXPECT_EQ(waits[1].why, "");
}

TEST(Waits, TheStartsOwnWaitShowsOnlyWhereTheSourceLacksNothing) {
  FakeSource source;
  NodeGate gate;
  EXPECT_TRUE(waits_of(source, gate).empty());
  std::thread waiter([&gate] {
    (void)gate.wait(
        {"podCIDRs of Node \"a\"", std::chrono::seconds(30), false, [](const model::Node&) { return false; }});
  });
  while (!gate.waiting()) std::this_thread::yield();
  const auto waits = waits_of(source, gate);
  source.waits = {{kube::WaitsFor::kServer, "https://h", "refused", kThen}};
  const auto more_telling = waits_of(source, gate);
  gate.give_up();
  waiter.join();
  ASSERT_EQ(waits.size(), 1U);
  EXPECT_EQ(waits[0].what, "podCIDRs of Node \"a\"");
  ASSERT_EQ(more_telling.size(), 1U);
  EXPECT_EQ(more_telling[0].what, "API server https://h");
}

TEST(Waits, WhyNoNodeIsKnownNamesEverythingMissingOrTheSource) {
  FakeSource source;
  EXPECT_EQ(why_node_is_unknown(source, "files in /m", "a"), "no Node \"a\" is known from files in /m");
  source.waits = {{kube::WaitsFor::kNode, "a", "there is b", kThen}, {kube::WaitsFor::kServer, "https://h", "", kThen}};
  EXPECT_EQ(why_node_is_unknown(source, "", "a"), "waiting for Node \"a\": there is b; API server https://h");
}

}  // namespace
}  // namespace sluice::daemon
