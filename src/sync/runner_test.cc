// SPDX-License-Identifier: Apache-2.0
#include "sync/runner.h"

#include <gtest/gtest.h>

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;

class RunnerTest : public testing::Test {
 protected:
  RunnerTest()
      : runner_({.min_interval = 2s, .retry_interval = 5s, .max_interval = 10s, .min_interval_after_failure = 1s},
                clock_) {}

  void run(std::chrono::nanoseconds duration = 0s, bool succeeds = true) {
    runner_.begin();
    clock_.advance(duration);
    runner_.finish(succeeds);
  }
  // How long until the next run; negative or zero: it is due.
  std::chrono::nanoseconds wait() { return runner_.next_run().value() - clock_.steady_now(); }

  FakeClock clock_;
  BoundedFrequencyRunner runner_;
};

TEST_F(RunnerTest, NothingRunsBeforeTheFirstRequest) {
  clock_.advance(1h);
  EXPECT_FALSE(runner_.due());
  EXPECT_FALSE(runner_.next_run());
}

TEST_F(RunnerTest, TheFirstRequestRunsAtOnce) {
  runner_.request();
  EXPECT_TRUE(runner_.due());
}

TEST_F(RunnerTest, ARequestAfterQuietRunsAtOnce) {
  runner_.request();
  run();
  clock_.advance(2s);
  EXPECT_FALSE(runner_.due());
  runner_.request();
  EXPECT_TRUE(runner_.due());
}

TEST_F(RunnerTest, TheMinimumIntervalCountsFromTheEndOfARun) {
  runner_.request();
  run(7s);
  runner_.request();
  EXPECT_EQ(wait(), 2s);
  clock_.advance(1999ms);
  EXPECT_FALSE(runner_.due());
  clock_.advance(1ms);
  EXPECT_TRUE(runner_.due());
}

TEST_F(RunnerTest, ManyRequestsAreOneRun) {
  runner_.request();
  run();
  for (int i = 0; i < 100; ++i) runner_.request();
  clock_.advance(2s);
  ASSERT_TRUE(runner_.due());
  run();
  clock_.advance(2s);
  EXPECT_FALSE(runner_.due());
}

TEST_F(RunnerTest, ARequestDuringARunIsNotLost) {
  runner_.request();
  runner_.begin();
  runner_.request();
  runner_.finish(true);
  EXPECT_EQ(wait(), 2s);
}

TEST_F(RunnerTest, WithoutRequestsItRunsAfterTheMaximumInterval) {
  runner_.request();
  run();
  EXPECT_EQ(wait(), 10s);
  clock_.advance(10s);
  EXPECT_TRUE(runner_.due());
}

TEST_F(RunnerTest, AFailedRunIsRetriedAfterTheRetryInterval) {
  runner_.request();
  run(1s, false);
  EXPECT_EQ(wait(), 5s);
  clock_.advance(5s);
  ASSERT_TRUE(runner_.due());
  run(1s, false);
  EXPECT_EQ(wait(), 5s);
}

TEST_F(RunnerTest, ARetryIsNotSoonerThanTheMinimumInterval) {
  BoundedFrequencyRunner slow(
      {.min_interval = 8s, .retry_interval = 5s, .max_interval = 1h, .min_interval_after_failure = 1s}, clock_);
  slow.request();
  slow.begin();
  slow.finish(false);
  EXPECT_EQ(slow.next_run().value() - clock_.steady_now(), 8s);
}

TEST_F(RunnerTest, SuccessCancelsTheRetry) {
  runner_.request();
  run(0s, false);
  clock_.advance(3s);
  runner_.request();
  ASSERT_TRUE(runner_.due());
  run();
  EXPECT_EQ(wait(), 10s);
}

TEST_F(RunnerTest, ARequestAfterAFailureDoesNotWaitForTheRetry) {
  runner_.request();
  run(0s, false);
  runner_.request();
  EXPECT_EQ(wait(), 2s);
}

TEST_F(RunnerTest, WithoutAMinimumIntervalFailuresStillPause) {
  BoundedFrequencyRunner eager(
      {.min_interval = 0s, .retry_interval = 5s, .max_interval = 1h, .min_interval_after_failure = 1s}, clock_);
  eager.request();
  eager.begin();
  eager.finish(true);
  eager.request();
  EXPECT_TRUE(eager.due());
  eager.begin();
  eager.finish(false);
  eager.request();
  EXPECT_EQ(eager.next_run().value() - clock_.steady_now(), 1s);
}

}  // namespace
}  // namespace sluice::sync
