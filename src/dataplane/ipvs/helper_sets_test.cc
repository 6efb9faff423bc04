// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/helper_sets.h"

#include <gtest/gtest.h>

#include "dataplane/ipvs/helper_rules.h"
#include "dataplane/ipvs/helper_test_net.h"

namespace sluice::dataplane::ipvs {
namespace {

using Bytes = std::vector<std::uint8_t>;

TEST(EncodeElements, KeysAreWhatTheRulesPutIntoRegisters) {
  HelperElements e;
  e.cluster_ips = {udp("10.96.0.10", 53)};
  e.masqueraded_node_ports = {{Protocol::kSctp, 30080}};
  e.unmasqueraded_node_ports = {{Protocol::kTcp, 30080}};
  e.service_addresses = {ip("10.96.0.10")};
  e.health_check_ports = {32123};
  e.local_real_servers = {ip("10.244.1.9")};
  const auto sets = encode_elements(e);
  EXPECT_EQ(sets.size(), 6U) << "empty sets are left out";
  EXPECT_EQ(sets.at(kClusterIps)[0].key, (Bytes{10, 96, 0, 10, 17, 0, 0, 0, 0, 53, 0, 0}));
  EXPECT_EQ(sets.at(kMasqueradedNodePorts)[0].key, (Bytes{132, 0, 0, 0, 0x75, 0x80, 0, 0}));
  EXPECT_EQ(sets.at(kUnmasqueradedNodePorts)[0].key, (Bytes{6, 0, 0, 0, 0x75, 0x80, 0, 0}));
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
    HelperElements e{{served},
                     {served},
                     {served},
                     {{Protocol::kTcp, 1}},
                     {{Protocol::kTcp, 1}},
                     {served},
                     {{served, cidr(row.range)}},
                     {ip(row.address)},
                     {1},
                     {ip(row.address)}};
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
