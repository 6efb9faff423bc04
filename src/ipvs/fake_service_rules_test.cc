// SPDX-License-Identifier: Apache-2.0
#include "ipvs/fake_service_rules.h"

#include <gtest/gtest.h>

#include "base/ip_literals.h"
#include "ipvs/borrowed_engine.h"
#include "ipvs/fake_engine.h"

namespace sluice::ipvs {
namespace {

ServiceRule rule_of(const char* address, std::uint32_t flags) {
  return {VirtualServerKey::of(Protocol::kTcp, ip(address), 80), flags};
}

AllowedSource allowed_of(const char* address, const char* source) {
  return {VirtualServerKey::of(Protocol::kTcp, ip(address), 80), *Cidr::parse(source)};
}

FakeEngine engine_with_rules() {
  FakeEngine engine;
  engine.describe({.name = "fake"});
  return engine;
}

TEST(FakeServiceRules, AreThereWhereNoHelperRulesAreNeeded) {
  FakeEngine like_ip_vs;
  EXPECT_EQ(like_ip_vs.service_rules(), nullptr);
  FakeEngine engine = engine_with_rules();
  BorrowedEngine borrowed(engine);
  EXPECT_EQ(borrowed.service_rules(), &engine.rules());
}

TEST(FakeServiceRules, ReplaceWritesWhatDiffersAndLeavesTheOtherFamily) {
  FakeServiceRules rules;
  const RuleSettings v6{.family = Family::kIPv6};
  ASSERT_TRUE(rules.replace(v6, {{rule_of("fd00::1", kMasqueradeAll)}, {}, {ip("fd00::1")}}));
  const RuleSettings v4;
  const RuleElements first{{rule_of("10.0.0.1", kMasqueradeOthers), rule_of("10.0.0.2", kFilteredFlag)},
                           {allowed_of("10.0.0.2", "192.0.2.0/24")},
                           {ip("10.0.0.1")}};
  EXPECT_EQ(*rules.replace(v4, first), 4);
  EXPECT_EQ(*rules.replace(v4, first), 0);
  EXPECT_EQ(*rules.read(Family::kIPv4), first);
  // One rule changed, one removed, with its source; an address more.
  const RuleElements second{{rule_of("10.0.0.1", kMasqueradeAll)}, {}, {ip("10.0.0.1"), ip("10.0.0.3")}};
  EXPECT_EQ(*rules.replace(v4, second), 4);
  EXPECT_EQ(*rules.read(Family::kIPv4), second);
  EXPECT_EQ(rules.read(Family::kIPv6)->rules.size(), 1);
}

TEST(FakeServiceRules, ChangesAddThenRemoveByKey) {
  FakeServiceRules rules;
  ASSERT_TRUE(rules.replace({}, {{rule_of("10.0.0.1", 0), rule_of("10.0.0.2", 0)}, {}, {ip("10.0.0.1")}}));
  const RuleElements add{{rule_of("10.0.0.1", kMasqueradeAll)}, {}, {ip("10.0.0.1")}};
  const RuleElements remove{{rule_of("10.0.0.2", kMasqueradeAll), rule_of("10.0.0.9", 0)}, {}, {ip("10.0.0.9")}};
  EXPECT_EQ(*rules.change(Family::kIPv4, add, remove), 2);
  EXPECT_EQ(*rules.read(Family::kIPv4), (RuleElements{{rule_of("10.0.0.1", kMasqueradeAll)}, {}, {ip("10.0.0.1")}}));
}

TEST(FakeServiceRules, AreIntactWithTheSameSettings) {
  FakeServiceRules rules;
  RuleSettings settings;
  EXPECT_FALSE(*rules.intact(settings));
  ASSERT_TRUE(rules.replace(settings, {}));
  EXPECT_TRUE(*rules.intact(settings));
  settings.masquerade_mark = 1;
  EXPECT_FALSE(*rules.intact(settings));
}

TEST(FakeServiceRules, KeepTheEngineInTheNode) {
  FakeEngine engine = engine_with_rules();
  EXPECT_EQ(*engine.presence(), Presence::kNone) << "nothing was ever made";
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  ASSERT_TRUE(engine.apply(std::vector<Change>{AddVirtualServer{VirtualServer::of(key)}}));
  ASSERT_TRUE(engine.rules().replace({}, {{rule_of("10.0.0.9", 0)}, {}, {}}));
  EXPECT_EQ(*engine.presence(), Presence::kServes);
  ASSERT_TRUE(engine.flush());
  EXPECT_EQ(*engine.presence(), Presence::kServes) << "there is a rule";
  ASSERT_TRUE(engine.leave_node());
  EXPECT_TRUE(engine.in_node());
  ASSERT_TRUE(engine.rules().clear(Family::kIPv4));
  EXPECT_EQ(*engine.presence(), Presence::kIdle);
  ASSERT_TRUE(engine.leave_node());
  EXPECT_FALSE(engine.in_node());
  EXPECT_EQ(*engine.presence(), Presence::kNone);
}

}  // namespace
}  // namespace sluice::ipvs
