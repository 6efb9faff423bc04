// SPDX-License-Identifier: Apache-2.0
#include "sync/pending_changes.h"

#include <gtest/gtest.h>

namespace sluice::sync {
namespace {

plan::ServicePortPlanPtr port(const char* name, std::uint16_t number) {
  auto made = std::make_shared<plan::ServicePortPlan>();
  made->key.service = {"shop", name};
  made->endpoints_known = number;
  return made;
}

TEST(PendingChanges, KeepsTheFirstBeforeAndTheLastAfter) {
  PendingChanges pending;
  const auto first = port("web", 1);
  const auto last = port("web", 3);
  pending.add({first, port("web", 2)});
  pending.add({port("web", 2), last});
  ASSERT_EQ(pending.size(), 1u);
  EXPECT_EQ(pending.list()[0].before, first);
  EXPECT_EQ(pending.list()[0].after, last);
}

TEST(PendingChanges, APortThatIsBackWhereItWasVanishes) {
  PendingChanges pending;
  pending.add({port("web", 1), port("web", 2)});
  pending.add({port("web", 2), port("web", 1)});
  EXPECT_TRUE(pending.empty());
}

TEST(PendingChanges, APortThatWasAddedAndRemovedVanishes) {
  PendingChanges pending;
  pending.add({nullptr, port("web", 1)});
  pending.add({port("web", 1), nullptr});
  EXPECT_TRUE(pending.empty());
}

TEST(PendingChanges, APortThatWasRemovedAndAddedDifferentlyIsAChange) {
  PendingChanges pending;
  pending.add({port("web", 1), nullptr});
  pending.add({nullptr, port("web", 2)});
  ASSERT_EQ(pending.size(), 1u);
  EXPECT_EQ(pending.list()[0].before->endpoints_known, 1U);
  EXPECT_EQ(pending.list()[0].after->endpoints_known, 2U);
}

TEST(PendingChanges, ListsInOrderOfTheKeys) {
  PendingChanges pending;
  pending.add({nullptr, port("b", 1)});
  pending.add({nullptr, port("a", 1)});
  const auto all = pending.list();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_LT(all[0].key(), all[1].key());
}

}  // namespace
}  // namespace sluice::sync
