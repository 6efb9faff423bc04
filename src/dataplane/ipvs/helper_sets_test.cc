// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/helper_sets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/helper_rules.h"
#include "dataplane/ipvs/helper_test_net.h"

namespace sluice::dataplane::ipvs {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;
using Bytes = std::vector<std::uint8_t>;

const sys::NftSet& set_named(const std::vector<sys::NftSet>& sets, const std::string& name) {
  return *std::find_if(sets.begin(), sets.end(), [&name](const sys::NftSet& set) { return set.name == name; });
}

TEST(EncodeElements, KeysAreWhatTheRulesPutIntoRegisters) {
  HelperElements e;
  e.cluster_ips = {udp("10.96.0.10", 53)};
  e.masqueraded_node_ports = {{Protocol::kSctp, 30080}};
  e.service_addresses = {ip("10.96.0.10")};
  e.health_check_ports = {32123};
  e.local_real_servers = {ip("10.244.1.9")};
  const auto sets = encode_elements(e);
  EXPECT_EQ(sets.size(), 5U) << "empty sets are left out";
  EXPECT_EQ(sets.at(kClusterIps)[0].key, (Bytes{10, 96, 0, 10, 17, 0, 0, 0, 0, 53, 0, 0}));
  EXPECT_EQ(sets.at(kMasqueradedNodePorts)[0].key, (Bytes{132, 0, 0, 0, 0x75, 0x80, 0, 0}));
  EXPECT_EQ(sets.at(kServiceAddresses)[0].key, (Bytes{10, 96, 0, 10}));
  EXPECT_EQ(sets.at(kHealthCheckPorts)[0].key, (Bytes{0x7d, 0x7b}));
  EXPECT_EQ(sets.at(kLocalRealServers)[0].key, (Bytes{10, 244, 1, 9, 10, 244, 1, 9}));
}

TEST(EncodeElements, KeysAreAsLongAsTheSetsOfTheirFamilySay) {
  struct Row {
    Family family;
    const char* address;
    const char* range;
  };
  for (const Row& row :
       {Row{Family::kIPv4, "192.0.2.1", "192.0.2.0/24"}, Row{Family::kIPv6, "2001:db8::1", "2001:db8::/32"}}) {
    SCOPED_TRACE(row.address);
    const ServedAddress served = tcp(row.address, 1);
    HelperElements e{
        {served},          {served}, {served},         {{Protocol::kTcp, 1}}, {served}, {{served, cidr(row.range)}},
        {ip(row.address)}, {1},      {ip(row.address)}};
    const auto elements = encode_elements(e);
    const auto sets = helper_sets(row.family);
    EXPECT_EQ(elements.size(), sets.size());
    for (const sys::NftSet& set : sets) {
      SCOPED_TRACE(set.name);
      ASSERT_TRUE(elements.contains(set.name));
      EXPECT_EQ(elements.at(set.name)[0].key.size(), sys::nft_key_length(set.key));
      EXPECT_EQ(elements.at(set.name)[0].key_end.size(), set.intervals ? sys::nft_key_length(set.key) : 0);
    }
  }
}

TEST(EncodeSourceRange, EndsWithTheLastAddressOfTheRange) {
  struct Row {
    const char* range;
    const char* last;
  };
  for (const Row& row :
       {Row{"10.0.0.0/8", "10.255.255.255"}, Row{"0.0.0.0/0", "255.255.255.255"}, Row{"192.0.2.1/32", "192.0.2.1"},
        Row{"192.0.2.128/25", "192.0.2.255"}, Row{"10.0.0.0/15", "10.1.255.255"},
        Row{"2001:db8::/47", "2001:db8:1:ffff:ffff:ffff:ffff:ffff"},
        Row{"::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}}) {
    SCOPED_TRACE(row.range);
    const IpAddress to = cidr(row.range).family() == Family::kIPv4 ? ip("203.0.113.7") : ip("2001:db8::7");
    const auto element = encode_source_range({{to, Protocol::kTcp, 443}, cidr(row.range)});
    const IpAddress last = ip(row.last);
    const auto wanted = last.bytes();
    ASSERT_EQ(element.key_end.size(), element.key.size());
    EXPECT_TRUE(
        std::equal(wanted.begin(), wanted.end(), element.key_end.end() - static_cast<std::ptrdiff_t>(wanted.size())));
  }
}

TEST(Widest, LeavesOutWhatLiesInAnotherRange) {
  EXPECT_THAT(
      widest({cidr("10.0.0.0/8"), cidr("10.1.0.0/16"), cidr("10.1.2.3/32"), cidr("11.0.0.0/8"), cidr("192.0.2.0/24")}),
      UnorderedElementsAre(cidr("10.0.0.0/8"), cidr("11.0.0.0/8"), cidr("192.0.2.0/24")));
  EXPECT_THAT(widest({cidr("10.0.0.0/9"), cidr("10.128.0.0/9")}),
              UnorderedElementsAre(cidr("10.0.0.0/9"), cidr("10.128.0.0/9")));
  EXPECT_THAT(widest({cidr("0.0.0.0/0"), cidr("10.0.0.0/8")}), ElementsAre(cidr("0.0.0.0/0")));
  EXPECT_TRUE(widest({}).empty());
}

TEST(ElementText, ReadsAsNftPrintsIt) {
  const auto v4 = helper_sets(Family::kIPv4);
  const auto v6 = helper_sets(Family::kIPv6);
  HelperElements e;
  e.cluster_ips = {udp("10.96.0.10", 53)};
  e.source_ranges = {{tcp("203.0.113.7", 443), cidr("10.0.0.0/8")}};
  const auto elements = encode_elements(e);
  EXPECT_EQ(element_text(set_named(v4, kClusterIps).key, elements.at(kClusterIps)[0]), "10.96.0.10 . udp . 53");
  EXPECT_EQ(element_text(set_named(v4, kSourceRanges).key, elements.at(kSourceRanges)[0]),
            "203.0.113.7 . tcp . 443 . 10.0.0.0-10.255.255.255");
  HelperElements six;
  six.local_real_servers = {ip("fd00::9")};
  EXPECT_EQ(element_text(set_named(v6, kLocalRealServers).key, encode_elements(six).at(kLocalRealServers)[0]),
            "fd00::9 . fd00::9");
  EXPECT_EQ(element_text(set_named(v4, kMasqueradedNodePorts).key, {{99, 0, 0, 0, 0, 1, 0, 0}, {}}), "99 . 1");
  EXPECT_EQ(element_text(set_named(v4, kClusterIps).key, {{10, 0}, {}}), "") << "a key too short for its fields";
}

TEST(Subtract, KeepsTheOrder) {
  const sys::NftElement a{{1}, {}};
  const sys::NftElement b{{2}, {}};
  const sys::NftElement c{{3}, {}};
  EXPECT_THAT(subtract({a, b, c}, {b}), ElementsAre(a, c));
  EXPECT_THAT(subtract({a}, {a, b}), ElementsAre());
}

TEST(HelperRules, AreAsManyWhateverThePolicy) {
  const std::size_t rules = helper_rules({}).size();
  using Kind = plan::LocalDetector::Kind;
  for (const Kind kind : {Kind::kCidr, Kind::kInterface, Kind::kInterfacePrefix}) {
    HelperSettings settings;
    settings.masquerade.detector = {kind, cidr("10.0.0.0/8"), "eth0"};
    EXPECT_EQ(helper_rules(settings).size(), rules);
    settings.masquerade.masquerade_all = true;
    EXPECT_EQ(helper_rules(settings).size(), rules);
  }
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
