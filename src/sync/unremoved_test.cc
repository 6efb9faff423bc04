// SPDX-License-Identifier: Apache-2.0
#include "sync/unremoved.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

class UnremovedTest : public testing::Test {
 protected:
  Unremoved unremoved_;
  Clock::SteadyTime now_{1h};
};

TEST_F(UnremovedTest, WithoutAnyThereIsNothingToTry) {
  EXPECT_THAT(unremoved_.note({}, true, now_), IsEmpty());
  EXPECT_EQ(unremoved_.next_try(), std::nullopt);
  EXPECT_FALSE(unremoved_.take_due(now_ + 24h));
}

TEST_F(UnremovedTest, EachIsNewOnce) {
  EXPECT_THAT(unremoved_.note({"b", "a"}, false, now_), ElementsAre("b", "a"));
  EXPECT_THAT(unremoved_.note({"c"}, false, now_), ElementsAre("c"));
  EXPECT_THAT(unremoved_.note({}, false, now_), IsEmpty());
  EXPECT_THAT(unremoved_.list(), ElementsAre("a", "b", "c")) << "a partial sync tries what it removes alone";
  EXPECT_THAT(unremoved_.note({"a", "d"}, true, now_), ElementsAre("d"));
  EXPECT_THAT(unremoved_.list(), ElementsAre("a", "d")) << "a full one tries all";
}

TEST_F(UnremovedTest, TriesBecomeRareUpToABound) {
  (void)unremoved_.note({"a"}, false, now_);
  for (const auto wait : {1min, 2min, 4min, 8min, 16min, 32min, 60min, 60min}) {
    EXPECT_EQ(unremoved_.next_try(), now_ + wait);
    EXPECT_FALSE(unremoved_.take_due(now_ + wait - 1s));
    now_ += wait;
    EXPECT_TRUE(unremoved_.take_due(now_));
    EXPECT_FALSE(unremoved_.take_due(now_)) << "the sync that was asked for comes first";
    (void)unremoved_.note({"a"}, true, now_);
  }
  (void)unremoved_.note({}, true, now_);
  (void)unremoved_.note({"a"}, false, now_);
  EXPECT_EQ(unremoved_.next_try(), now_ + 1min) << "another story";
}

TEST_F(UnremovedTest, APartialSyncDoesNotPutTheTryOff) {
  (void)unremoved_.note({"a"}, false, now_);
  (void)unremoved_.note({"b"}, false, now_ + 30s);
  EXPECT_EQ(unremoved_.next_try(), now_ + 1min);
}

}  // namespace
}  // namespace sluice::sync
