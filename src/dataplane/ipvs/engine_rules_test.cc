// SPDX-License-Identifier: Apache-2.0
// What an engine with rules of its own is given for the elements that the helper table would hold.
#include "dataplane/ipvs/engine_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/test_world.h"

namespace sluice::dataplane::ipvs {
namespace {

using sluice::ipvs::kAnyOwnAddress;
using sluice::ipvs::kFilteredFlag;
using sluice::ipvs::kMasqueradeAll;
using sluice::ipvs::kMasqueradeOthers;
using sluice::ipvs::LocalClients;
using sluice::ipvs::RuleElements;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

ServedAddress served(std::string_view address, std::uint16_t port = 80) {
  return {ip(address), Protocol::kTcp, port};
}

HelperSettings pods_are(std::string_view prefix) {
  HelperSettings settings;
  settings.family = cidr(prefix).family();
  settings.masquerade.detector = {plan::LocalDetector::Kind::kCidr, cidr(prefix), ""};
  return settings;
}

std::vector<std::string> texts(const RuleElements& elements) {
  std::vector<std::string> all;
  for (const auto& rule : elements.rules)
    all.push_back(fmt::format("{} {:x}", sluice::ipvs::to_string(rule.key), rule.flags));
  for (const auto& each : elements.allowed)
    all.push_back(fmt::format("{} from {}", sluice::ipvs::to_string(each.key), each.source.to_string()));
  for (const IpAddress& address : elements.addresses) all.push_back("route " + address.to_string());
  std::sort(all.begin(), all.end());
  return all;
}

class EngineRulesTest : public testing::Test {
 protected:
  std::unique_ptr<HelperTable> open(const HelperSettings& settings) {
    return make_engine_rules(rules_, "ebpf", settings, std::make_unique<WorldMasquerade>(world_));
  }
  std::vector<std::string> live(Family family = Family::kIPv4) { return texts(*rules_.read(family)); }

  World world_;
  sluice::ipvs::FakeServiceRules rules_;
};

TEST_F(EngineRulesTest, EachSetIsAFlagOfItsKeysRule) {
  HelperElements elements;
  elements.cluster_ips = {served("10.96.0.1"), served("10.96.0.1", 81)};
  elements.masqueraded = {served("198.51.100.1"), served("198.51.100.3")};
  elements.unmasqueraded = {served("198.51.100.2")};
  elements.firewalled = {served("198.51.100.3")};
  elements.source_ranges = {{served("198.51.100.3"), cidr("203.0.113.0/24")}};
  elements.masqueraded_node_ports = {{Protocol::kUdp, 30053}};
  elements.unmasqueraded_node_ports = {{Protocol::kTcp, 30080}};
  // Those of the kernel's engine alone.
  elements.service_addresses = {ip("10.96.0.1")};
  elements.health_check_ports = {32000};
  elements.local_real_servers = {ip("10.1.0.2")};
  EXPECT_THAT(
      texts(rule_elements(elements, pods_are("10.1.0.0/16"))),
      UnorderedElementsAre("TCP 10.96.0.1:80 1", "TCP 10.96.0.1:81 1", "TCP 198.51.100.1:80 2", "TCP 198.51.100.2:80 0",
                           "TCP 198.51.100.3:80 6", "UDP 0.0.0.0:30053 a", "TCP 0.0.0.0:30080 8",
                           "TCP 198.51.100.3:80 from 203.0.113.0/24", "route 10.96.0.1"));
  static_assert(kMasqueradeOthers == 1 && kMasqueradeAll == 2 && kFilteredFlag == 4 && kAnyOwnAddress == 8);
}

TEST_F(EngineRulesTest, NodePortsOfTheOtherFamilyAreItsOwn) {
  HelperElements elements;
  elements.masqueraded_node_ports = {{Protocol::kTcp, 30080}};
  EXPECT_THAT(texts(rule_elements(elements, pods_are("fd01::/64"))), ElementsAre("TCP [::]:30080 a"));
  EXPECT_EQ(rule_elements(elements, pods_are("fd01::/64")).rules.front().key.family, Family::kIPv6);
}

TEST_F(EngineRulesTest, TheDetectorSaysWhoIsMasqueradedAtClusterIps) {
  HelperElements elements;
  elements.cluster_ips = {served("10.96.0.1")};
  HelperSettings settings;
  const auto flags = [&] { return rule_elements(elements, settings).rules.front().flags; };
  EXPECT_EQ(flags(), 0U) << "no source can be distinguished from a pod";
  EXPECT_EQ(rule_settings(settings).local_clients, LocalClients{});
  settings.masquerade.masquerade_all = true;
  EXPECT_EQ(flags(), kMasqueradeAll);
  settings.masquerade = {{plan::LocalDetector::Kind::kInterfacePrefix, {}, "veth"}, false};
  EXPECT_EQ(flags(), kMasqueradeOthers);
  EXPECT_EQ(rule_settings(settings).local_clients,
            (LocalClients{LocalClients::Kind::kInterfacePrefix, Cidr(), "veth"}));
  settings.masquerade.detector = {plan::LocalDetector::Kind::kInterface, {}, "cni0"};
  EXPECT_EQ(rule_settings(settings).local_clients, (LocalClients{LocalClients::Kind::kInterface, Cidr(), "cni0"}));
  settings.masquerade_bit = 15;
  EXPECT_EQ(rule_settings(settings).masquerade_mark, 0x8000U);
  EXPECT_TRUE(rule_settings(settings).expire_without_real_server);
  EXPECT_TRUE(rule_settings(settings).expire_quiescent_templates);
}

TEST_F(EngineRulesTest, AChangeOfPolicyHasNoMomentWithoutRule) {
  const auto table = open(pods_are("10.1.0.0/16"));
  HelperElements masqueraded;
  masqueraded.masqueraded = {served("198.51.100.1")};
  HelperElements unmasqueraded;
  unmasqueraded.unmasqueraded = {served("198.51.100.1")};
  ASSERT_TRUE(table->replace(masqueraded));
  EXPECT_EQ(*table->change(unmasqueraded, {}), 0U) << "still masqueraded";
  EXPECT_THAT(live(), ElementsAre("TCP 198.51.100.1:80 2"));
  EXPECT_EQ(*table->change({}, masqueraded), 1U);
  EXPECT_THAT(live(), ElementsAre("TCP 198.51.100.1:80 0"));
  EXPECT_EQ(*table->change(masqueraded, unmasqueraded), 1U) << "in one step";
  EXPECT_THAT(live(), ElementsAre("TCP 198.51.100.1:80 2"));
  EXPECT_EQ(*table->change({}, masqueraded), 1U);
  EXPECT_THAT(live(), IsEmpty());
}

TEST_F(EngineRulesTest, AnAddressIsRoutedWhileOneOfItsPortsIsServed) {
  const auto table = open(pods_are("10.1.0.0/16"));
  HelperElements web;
  web.cluster_ips = {served("10.96.0.1")};
  HelperElements metrics;
  metrics.cluster_ips = {served("10.96.0.1", 9090)};
  ASSERT_TRUE(table->replace(web));
  EXPECT_EQ(*table->change(metrics, {}), 1U);
  EXPECT_EQ(*table->change(metrics, {}), 0U) << "again";
  EXPECT_EQ(*table->change({}, web), 1U);
  EXPECT_THAT(live(), ElementsAre("TCP 10.96.0.1:9090 1", "route 10.96.0.1"));
  EXPECT_EQ(*table->change({}, metrics), 2U);
  EXPECT_THAT(live(), IsEmpty());
  EXPECT_EQ(*table->change({}, metrics), 0U) << "again";
}

TEST_F(EngineRulesTest, WhatWasRefusedIsWrittenByTheNextChange) {
  const auto table = open(pods_are("10.1.0.0/16"));
  HelperElements web;
  web.cluster_ips = {served("10.96.0.1")};
  EXPECT_FALSE(table->change(web, {})) << "before it was written";
  ASSERT_TRUE(table->replace({}));
  rules_.refusal = Error{Errc::kExhausted, "no memory"};
  EXPECT_FALSE(table->change(web, {}));
  rules_.refusal.reset();
  EXPECT_EQ(*table->change(web, {}), 2U);
  EXPECT_THAT(live(), ElementsAre("TCP 10.96.0.1:80 1", "route 10.96.0.1"));
}

TEST_F(EngineRulesTest, DifferencesNameTheRule) {
  const auto table = open(pods_are("10.1.0.0/16"));
  HelperElements elements;
  elements.cluster_ips = {served("10.96.0.1")};
  elements.masqueraded_node_ports = {{Protocol::kTcp, 30080}};
  ASSERT_TRUE(table->replace(elements));
  EXPECT_TRUE(*table->intact());
  EXPECT_TRUE(table->compare(elements)->empty());
  elements.firewalled = {served("10.96.0.1")};
  elements.source_ranges = {{served("10.96.0.1"), cidr("203.0.113.0/24")}};
  elements.masqueraded_node_ports.clear();
  const auto difference = table->compare(elements);
  EXPECT_THAT(difference->missing,
              ElementsAre("rule of TCP 10.96.0.1:80: masquerade others than local clients, filter by source",
                          "source range 203.0.113.0/24 of TCP 10.96.0.1:80"));
  EXPECT_THAT(difference->unexpected,
              UnorderedElementsAre("rule of TCP 10.96.0.1:80: masquerade others than local clients",
                                   "rule of node port TCP 0.0.0.0:30080: masquerade all"));
  world_.masquerade_there = false;
  EXPECT_FALSE(*table->intact());
  EXPECT_THAT(table->compare(elements)->missing, testing::Contains("masquerade rule"));
  ASSERT_TRUE(table->replace(elements));
  EXPECT_TRUE(*table->intact());
  rules_.lose(Family::kIPv4);
  EXPECT_FALSE(*table->intact());
  EXPECT_THAT(table->compare(elements)->missing, testing::Contains("route of 10.96.0.1 to the engine"));
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
