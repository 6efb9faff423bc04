// SPDX-License-Identifier: Apache-2.0
// The part of the contract that is in service_rules.h.
#include <algorithm>

#include "base/ip_literals.h"
#include "ipvs/contract_suite.h"

namespace sluice::ipvs {
namespace {

ServiceRule rule_for(const char* address, std::uint32_t flags) {
  return {VirtualServerKey::of(Protocol::kTcp, ip(address), 80), flags};
}

ServiceRule node_port_rule(Family family, std::uint16_t port, std::uint32_t flags) {
  ServiceRule rule{{}, flags | kAnyOwnAddress};
  rule.key.family = family;
  rule.key.port = port;
  return rule;
}

AllowedSource allowed_for(const char* address, const char* source) {
  return {VirtualServerKey::of(Protocol::kTcp, ip(address), 80), *Cidr::parse(source)};
}

const RuleSettings kV4{.family = Family::kIPv4};
const RuleSettings kV6{.family = Family::kIPv6};

}  // namespace

RuleElements RulesContract::read(Family family) {
  auto there = rig_->open()->service_rules()->read(family);
  EXPECT_TRUE(there) << there.error().what;
  if (!there) return {};
  std::sort(there->rules.begin(), there->rules.end());
  std::sort(there->allowed.begin(), there->allowed.end());
  std::sort(there->addresses.begin(), there->addresses.end());
  return *std::move(there);
}

std::size_t RulesContract::replace(const RuleSettings& settings, const RuleElements& wanted) {
  const auto written = engine_->service_rules()->replace(settings, wanted);
  EXPECT_TRUE(written) << written.error().what;
  return written ? *written : 0;
}

std::size_t RulesContract::change(Family family, const RuleElements& add, const RuleElements& remove) {
  const auto written = engine_->service_rules()->change(family, add, remove);
  EXPECT_TRUE(written) << written.error().what;
  return written ? *written : 0;
}

bool RulesContract::intact(const RuleSettings& settings) {
  const auto intact = engine_->service_rules()->intact(settings);
  EXPECT_TRUE(intact) << intact.error().what;
  return intact && *intact;
}

Presence RulesContract::presence() {
  const auto presence = engine_->presence();
  EXPECT_TRUE(presence) << presence.error().what;
  return presence ? *presence : Presence::kOutOfSight;
}

TEST_P(RulesContract, AreReplacedByWhatDiffers) {
  EXPECT_TRUE(read(Family::kIPv4).empty());
  const ServiceRule node_port = node_port_rule(Family::kIPv4, 30080, kMasqueradeAll);
  const RuleElements first{{node_port, rule_for("10.0.0.1", kMasqueradeOthers), rule_for("10.0.0.2", kFilteredFlag),
                            rule_for("10.0.0.3", 0)},
                           {allowed_for("10.0.0.2", "0.0.0.0/0"), allowed_for("10.0.0.2", "192.0.2.0/24"),
                            allowed_for("10.0.0.2", "192.0.2.1/32")},
                           {ip("10.0.0.1"), ip("10.0.0.2")}};
  EXPECT_EQ(replace(kV4, first), 9U);
  EXPECT_EQ(read(Family::kIPv4), first);
  EXPECT_EQ(replace(kV4, first), 0U);
  // One changed, one removed with two of its sources and its address, two as they were.
  const RuleElements second{{node_port, rule_for("10.0.0.1", kMasqueradeAll), rule_for("10.0.0.3", 0)},
                            {allowed_for("10.0.0.2", "192.0.2.0/24")},
                            {ip("10.0.0.1")}};
  EXPECT_EQ(replace(kV4, second), 5U);
  EXPECT_EQ(read(Family::kIPv4), second);
}

TEST_P(RulesContract, OfOneFamilyAreNotThoseOfTheOther) {
  const RuleElements v4{{node_port_rule(Family::kIPv4, 30080, 0)}, {}, {ip("10.0.0.1")}};
  const RuleElements v6{{node_port_rule(Family::kIPv6, 30080, kMasqueradeAll), rule_for("fd00::1", kFilteredFlag)},
                        {allowed_for("fd00::1", "::/0"), allowed_for("fd00::1", "2001:db8::/33")},
                        {ip("fd00::1")}};
  replace(kV6, v6);
  replace(kV4, v4);
  EXPECT_EQ(read(Family::kIPv4), v4);
  EXPECT_EQ(read(Family::kIPv6), v6);
  ASSERT_TRUE(engine_->service_rules()->clear(Family::kIPv4));
  EXPECT_TRUE(read(Family::kIPv4).empty());
  EXPECT_FALSE(intact(kV4));
  EXPECT_EQ(read(Family::kIPv6), v6);
  EXPECT_TRUE(intact(kV6));
}

TEST_P(RulesContract, ChangesAddThenRemoveByKey) {
  replace(
      kV4,
      {{rule_for("10.0.0.1", 0), rule_for("10.0.0.2", kFilteredFlag)}, {allowed_for("10.0.0.2", "192.0.2.0/24")}, {}});
  const RuleElements add{{rule_for("10.0.0.1", kMasqueradeAll)}, {allowed_for("10.0.0.2", "192.0.2.0/24")}, {}};
  const RuleElements remove{
      {rule_for("10.0.0.2", 0), rule_for("10.0.0.9", 0)}, {allowed_for("10.0.0.2", "10.0.0.0/8")}, {}};
  EXPECT_EQ(change(Family::kIPv4, add, remove), 2U);
  EXPECT_EQ(read(Family::kIPv4),
            (RuleElements{{rule_for("10.0.0.1", kMasqueradeAll)}, {allowed_for("10.0.0.2", "192.0.2.0/24")}, {}}));
  EXPECT_EQ(change(Family::kIPv4, add, remove), 0U);
}

TEST_P(RulesContract, OutliveTheirVirtualServer) {
  const RuleElements wanted{{rule_for("10.0.0.1", kMasqueradeAll)}, {}, {}};
  replace(kV4, wanted);
  const VirtualServer server = VirtualServer::of(wanted.rules.front().key);
  apply({AddVirtualServer{server}});
  apply({RemoveVirtualServer{server.key}});
  ASSERT_TRUE(engine_->flush());
  EXPECT_EQ(read(Family::kIPv4), wanted);
}

TEST_P(RulesContract, AreIntactWithTheSettingsThatWereGiven) {
  EXPECT_FALSE(intact(kV4));
  const std::vector<RuleSettings> all{
      kV4,
      {.family = Family::kIPv4, .masquerade_mark = 0x4000},
      {.family = Family::kIPv4, .expire_without_real_server = true},
      {.family = Family::kIPv4, .expire_quiescent_templates = true},
      {.family = Family::kIPv4,
       .local_clients = {.kind = LocalClients::Kind::kCidr, .cidr = *Cidr::parse("10.244.0.0/16")}},
      {.family = Family::kIPv4,
       .local_clients = {.kind = LocalClients::Kind::kCidr, .cidr = *Cidr::parse("10.244.0.0/17")}},
      {.family = Family::kIPv4, .local_clients = {.kind = LocalClients::Kind::kInterface, .interface = "cni0"}},
      {.family = Family::kIPv4, .local_clients = {.kind = LocalClients::Kind::kInterface, .interface = "cni1"}},
      {.family = Family::kIPv4, .local_clients = {.kind = LocalClients::Kind::kInterfacePrefix, .interface = "cni1"}}};
  for (const RuleSettings& settings : all) {
    replace(settings, {});
    for (const RuleSettings& other : all) EXPECT_EQ(intact(other), other == settings);
  }
}

TEST_P(RulesContract, KeepTheEngineInTheNode) {
  EXPECT_EQ(presence(), Presence::kNone) << "nothing was ever made";
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  apply({AddVirtualServer{VirtualServer::of(key)}});
  replace(kV4, {{rule_for("10.0.0.9", 0)}, {}, {}});
  EXPECT_EQ(presence(), Presence::kServes);
  ASSERT_TRUE(engine_->flush());
  EXPECT_EQ(presence(), Presence::kServes) << "there is a rule";
  ASSERT_TRUE(engine_->leave_node());
  EXPECT_EQ(read(Family::kIPv4).rules.size(), 1U) << "what serves stays";
  ASSERT_TRUE(engine_->service_rules()->clear(Family::kIPv4));
  EXPECT_EQ(presence(), Presence::kIdle);
  ASSERT_TRUE(engine_->leave_node());
  EXPECT_EQ(presence(), Presence::kNone);
  // It can be used again.
  apply({AddVirtualServer{VirtualServer::of(key)}});
  EXPECT_TRUE(engine_->find(key));
}

}  // namespace sluice::ipvs
