// SPDX-License-Identifier: Apache-2.0
#include "config/detect.h"

#include <gmock/gmock.h>

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Kind = plan::LocalDetector::Kind;
using Texts = std::vector<std::string>;
constexpr Family k4 = Family::kIPv4;
constexpr Family k6 = Family::kIPv6;

std::vector<IpAddress> ips_of(const Texts& texts) {
  std::vector<IpAddress> ips;
  for (const std::string& text : texts) ips.push_back(IpAddress::parse(text).value());
  return ips;
}

std::vector<Cidr> cidrs_of(const Texts& texts) {
  std::vector<Cidr> cidrs;
  for (const std::string& text : texts) cidrs.push_back(Cidr::parse(text).value());
  return cidrs;
}

Texts texts_of(const std::vector<IpAddress>& ips) {
  Texts texts;
  for (const IpAddress& ip : ips) texts.push_back(ip.to_string());
  return texts;
}

TEST(NodeName, IsTheOverrideOrTheHostsTrimmedAndLowerCase) {
  ProxyConfig config;
  EXPECT_EQ(*node_name(config, "Host-A\n"), "host-a");
  config.hostname_override = " Node-B ";
  EXPECT_EQ(*node_name(config, "host-a"), "node-b");
  config.hostname_override = "  ";
  const auto refused = node_name(config, "host-a");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().what, "empty hostname is invalid");
}

// Upstream: Test_detectNodeIPs.
TEST(NodeIps, FollowBindAddressThenTheNodeThenLoopback) {
  struct Row {
    std::string name;
    std::string bind;
    Texts internal;
    Texts external;
    Family primary;
    std::string ipv4, ipv6;
    bool loopback;
  };
  const Row rows[] = {
      {"bind IPv4, no Node", "10.0.0.1", {}, {}, k4, "10.0.0.1", "::1", false},
      {"bind IPv4, Node of IPv4", "10.0.0.1", {"192.168.1.1"}, {"90.90.90.90"}, k4, "10.0.0.1", "::1", false},
      {"bind IPv6, no Node", "fd00:4321::2", {}, {}, k6, "127.0.0.1", "fd00:4321::2", false},
      {"bind IPv6, Node of IPv6",
       "fd00:4321::2",
       {"fd00:1234::1"},
       {"2001:db8::2"},
       k6,
       "127.0.0.1",
       "fd00:4321::2",
       false},
      {"bind all of IPv4, no Node", "0.0.0.0", {}, {}, k4, "127.0.0.1", "::1", true},
      {"bind all of IPv4, Node", "0.0.0.0", {"192.168.1.1"}, {"90.90.90.90"}, k4, "192.168.1.1", "::1", false},
      {"bind all of IPv6, no Node", "::", {}, {}, k4, "127.0.0.1", "::1", true},
      {"bind all of IPv6, Node of IPv6",
       "::",
       {"fd00:1234::1"},
       {"2001:db8::2"},
       k6,
       "127.0.0.1",
       "fd00:1234::1",
       false},
      {"dual stack, IPv4 first", "::", {"90.90.90.90", "2001:db8::2"}, {}, k4, "90.90.90.90", "2001:db8::2", false},
      {"dual stack, IPv6 first",
       "0.0.0.0",
       {"2001:db8::2", "90.90.90.90"},
       {},
       k6,
       "90.90.90.90",
       "2001:db8::2",
       false},
      {"dual stack, override IPv4 first",
       "80.80.80.80",
       {"90.90.90.90", "2001:db8::2"},
       {},
       k4,
       "80.80.80.80",
       "2001:db8::2",
       false},
      {"dual stack, override IPv6 first",
       "2001:db8::555",
       {"2001:db8::2", "90.90.90.90"},
       {},
       k6,
       "90.90.90.90",
       "2001:db8::555",
       false},
      {"dual stack, override the second family",
       "2001:db8::555",
       {"90.90.90.90", "2001:db8::2"},
       {},
       k6,
       "90.90.90.90",
       "2001:db8::555",
       false},
      {"internal before external",
       "",
       {"10.0.0.1", "10.0.0.2"},
       {"8.8.8.8", "2001:db8::8"},
       k4,
       "10.0.0.1",
       "2001:db8::8",
       false},
      {"only external", "", {}, {"2001:db8::8"}, k6, "127.0.0.1", "2001:db8::8", false},
      {"bind to loopback", "127.0.0.1", {"10.0.0.1"}, {}, k4, "127.0.0.1", "::1", true},
      {"bind to nonsense", "x", {"10.0.0.1"}, {}, k4, "10.0.0.1", "::1", false},
  };
  for (const Row& row : rows) {
    const NodeIps ips = detect_node_ips({row.bind, ips_of(row.internal), ips_of(row.external)});
    EXPECT_EQ(ips.primary, row.primary) << row.name;
    EXPECT_EQ(of(ips.by_family, k4).to_string(), row.ipv4) << row.name;
    EXPECT_EQ(of(ips.by_family, k6).to_string(), row.ipv6) << row.name;
    EXPECT_EQ(ips.loopback_assumed, row.loopback) << row.name;
  }
}

TEST(Families, PrimaryComesFirstAndMustBeSupported) {
  EXPECT_THAT(*choose_families(k4, {true, true}), ElementsAre(k4, k6));
  EXPECT_THAT(*choose_families(k6, {true, true}), ElementsAre(k6, k4));
  EXPECT_THAT(*choose_families(k4, {true, false}), ElementsAre(k4));
  const auto refused = choose_families(k6, {true, false});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().what, "no support for primary IP family \"IPv6\"");
}

struct DetectorRow {
  std::string name;
  std::string mode;
  std::string cluster_cidr;
  Texts pod_cidrs;
  Family primary;
  std::string ipv4, ipv6;  // "" = none, else the CIDR
  std::string notice;      // fragment; "" = none
};

// Upstream: Test_getLocalDetectors, the modes by CIDR.
TEST(LocalDetectors, ByCidrTakeTheFirstOfEachFamily) {
  const std::string no_cluster = "no cluster CIDR specified for primary IP family";
  const std::string no_pod = "no PodCIDR defined at node for primary IP family";
  const DetectorRow rows[] = {
      {"cluster, IPv4", "ClusterCIDR", "10.0.0.0/14", {}, k4, "10.0.0.0/14", "", ""},
      {"cluster, IPv6", "ClusterCIDR", "2002:0:0:1234::/64", {}, k6, "", "2002:0:0:1234::/64", ""},
      {"cluster, IPv6 on an IPv4 node",
       "ClusterCIDR",
       "2002:0:0:1234::/64",
       {},
       k4,
       "",
       "2002:0:0:1234::/64",
       no_cluster},
      {"cluster, IPv4 on an IPv6 node", "ClusterCIDR", "10.0.0.0/14", {}, k6, "10.0.0.0/14", "", no_cluster},
      {"cluster, dual stack, IPv4 primary",
       "ClusterCIDR",
       "10.0.0.0/14,2002:0:0:1234::/64",
       {},
       k4,
       "10.0.0.0/14",
       "2002:0:0:1234::/64",
       ""},
      {"cluster, dual stack, IPv6 primary",
       "ClusterCIDR",
       "2002:0:0:1234::/64,10.0.0.0/14",
       {},
       k6,
       "10.0.0.0/14",
       "2002:0:0:1234::/64",
       ""},
      {"cluster, none", "ClusterCIDR", "", {}, k4, "", "", no_cluster},
      {"cluster does not look at pod CIDRs", "ClusterCIDR", "", {"10.0.0.0/24"}, k4, "", "", no_cluster},
      {"no mode is cluster", "", "10.0.0.0/14", {}, k4, "10.0.0.0/14", "", ""},
      {"node, IPv4", "NodeCIDR", "10.0.0.0/14", {"10.0.0.0/24"}, k4, "10.0.0.0/24", "", ""},
      {"node, IPv6", "NodeCIDR", "", {"2002::1234:abcd:ffff:0:0/96"}, k6, "", "2002::1234:abcd:ffff:0:0/96", ""},
      {"node, IPv6 on an IPv4 node",
       "NodeCIDR",
       "",
       {"2002::1234:abcd:ffff:0:0/96"},
       k4,
       "",
       "2002::1234:abcd:ffff:0:0/96",
       no_pod},
      {"node, dual stack, IPv4 primary",
       "NodeCIDR",
       "",
       {"10.0.0.0/24", "2002:abcd::/96"},
       k4,
       "10.0.0.0/24",
       "2002:abcd::/96",
       ""},
      {"node, dual stack, IPv6 primary",
       "NodeCIDR",
       "",
       {"2002:abcd::/96", "10.0.0.0/24"},
       k6,
       "10.0.0.0/24",
       "2002:abcd::/96",
       ""},
      {"node, several of a family", "NodeCIDR", "", {"10.0.1.0/24", "10.0.2.0/24"}, k4, "10.0.1.0/24", "", ""},
      {"node, none", "NodeCIDR", "10.0.0.0/14", {}, k4, "", "", no_pod},
  };
  for (const DetectorRow& row : rows) {
    ProxyConfig config;
    config.detect_local_mode = row.mode;
    config.cluster_cidr = row.cluster_cidr;
    const LocalDetectors got = local_detectors(config, cidrs_of(row.pod_cidrs), row.primary);
    for (const Family family : kFamilies) {
      const std::string& wanted = family == k4 ? row.ipv4 : row.ipv6;
      const plan::LocalDetector& detector = of(got.by_family, family);
      EXPECT_EQ(detector.kind, wanted.empty() ? Kind::kNone : Kind::kCidr) << row.name;
      EXPECT_EQ(detector.implemented() ? detector.cidr.to_string() : "", wanted) << row.name;
    }
    EXPECT_THAT(got.notice, HasSubstr(row.notice)) << row.name;
    EXPECT_EQ(got.notice.empty(), row.notice.empty()) << row.name;
  }
}

TEST(LocalDetectors, ByInterfaceServeBothFamilies) {
  ProxyConfig config;
  config.detect_local = {"cbr0", "eth"};
  config.cluster_cidr = "10.0.0.0/14";
  config.detect_local_mode = "BridgeInterface";
  LocalDetectors got = local_detectors(config, {}, k6);
  EXPECT_THAT(got.by_family, testing::Each(plan::LocalDetector{Kind::kInterface, {}, "cbr0"}));
  EXPECT_EQ(got.notice, "");
  config.detect_local_mode = "InterfaceNamePrefix";
  got = local_detectors(config, {}, k4);
  EXPECT_THAT(got.by_family, testing::Each(plan::LocalDetector{Kind::kInterfacePrefix, {}, "eth"}));
}

TEST(NodePortAddresses, PrimaryIsReplacedByTheNodesOwn) {
  ProxyConfig config;
  NodeIps ips = detect_node_ips({"", ips_of({"192.0.2.1", "2001:db8::1"}), {}});
  EXPECT_THAT(expand_node_port_addresses(config, ips), IsEmpty());
  config.node_port_addresses = std::vector<std::string>{"primary"};
  EXPECT_THAT(expand_node_port_addresses(config, ips), ElementsAre("192.0.2.1/32", "2001:db8::1/128"));
  EXPECT_THAT(expand_node_port_addresses(config, detect_node_ips({"", ips_of({"2001:db8::1"}), {}})),
              ElementsAre("2001:db8::1/128"));
  EXPECT_THAT(expand_node_port_addresses(config, detect_node_ips({})), IsEmpty());
  config.node_port_addresses = std::vector<std::string>{"10.0.0.0/8"};
  EXPECT_THAT(expand_node_port_addresses(config, ips), ElementsAre("10.0.0.0/8"));
}

// Upstream: TestGetNodeIPs.
TEST(NodePortAddresses, AreTheLocalAddressesWithinTheCidrs) {
  struct Row {
    std::string name;
    Texts cidrs;
    Texts local;
    bool all4, all6;
    Texts ipv4, ipv6;
  };
  const Row rows[] = {
      {"one CIDR", {"10.20.30.0/24"}, {"10.20.30.51", "100.200.201.1"}, false, true, {"10.20.30.51"}, {}},
      {"zero CIDR", {"0.0.0.0/0"}, {"10.20.30.51", "127.0.0.1"}, true, true, {}, {}},
      {"zero CIDR of IPv6", {"::/0"}, {"2001:db8::1", "::1"}, true, true, {}, {}},
      {"a zero CIDR among others",
       {"10.20.30.0/24", "0.0.0.0/0"},
       {"10.20.30.51", "100.200.201.1"},
       true,
       true,
       {},
       {}},
      {"loopback by its CIDR", {"127.0.0.0/8"}, {"10.20.30.51", "127.0.0.1"}, false, true, {"127.0.0.1"}, {}},
      {"nothing matches", {"192.0.2.0/24"}, {"10.20.30.51"}, false, true, {}, {}},
      {"two CIDRs",
       {"10.20.30.0/24", "100.200.201.0/24"},
       {"100.200.201.1", "10.20.30.51"},
       false,
       true,
       {"10.20.30.51", "100.200.201.1"},
       {}},
      {"overlapping CIDRs give an address once",
       {"10.20.30.0/24", "10.20.30.51/32"},
       {"10.20.30.51", "10.20.30.51"},
       false,
       true,
       {"10.20.30.51"},
       {}},
      {"dual stack",
       {"10.20.30.0/24", "2001:db8::/64"},
       {"2001:db8::1", "10.20.30.51", "fd00::1"},
       false,
       false,
       {"10.20.30.51"},
       {"2001:db8::1"}},
      {"only IPv6 is limited", {"2001:db8::/64"}, {"2001:db8::1", "10.20.30.51"}, true, false, {}, {"2001:db8::1"}},
      {"IPv6 loopback is never served",
       {"::1/128", "2001:db8::/64"},
       {"::1", "2001:db8::1"},
       true,
       false,
       {},
       {"2001:db8::1"}},
      {"none", {}, {"10.20.30.51"}, true, true, {}, {}},
      {"single addresses",
       {"192.0.2.1/32", "2001:db8::1/128"},
       {"192.0.2.1", "192.0.2.2", "2001:db8::1"},
       false,
       false,
       {"192.0.2.1"},
       {"2001:db8::1"}},
  };
  for (const Row& row : rows) {
    const auto ipv4 = node_port_addresses(k4, row.cidrs, ips_of(row.local));
    const auto ipv6 = node_port_addresses(k6, row.cidrs, ips_of(row.local));
    EXPECT_EQ(ipv4.all_local, row.all4) << row.name;
    EXPECT_EQ(ipv6.all_local, row.all6) << row.name;
    EXPECT_EQ(texts_of(ipv4.addresses), row.ipv4) << row.name;
    EXPECT_EQ(texts_of(ipv6.addresses), row.ipv6) << row.name;
  }
}

// Upstream: TestContainsIPv4Loopback.
TEST(NodePortAddresses, ContainLoopbackOrNot) {
  struct Row {
    Texts cidrs;
    bool wanted;
  };
  const Row rows[] = {
      {{}, true},
      {{"0.0.0.0/0"}, true},
      {{"127.0.0.0/8"}, true},
      {{"127.0.0.1/32"}, true},
      {{"127.128.0.0/28"}, true},
      {{"126.0.0.0/7"}, true},
      {{"10.0.0.0/8"}, false},
      {{"10.0.0.0/8", "127.0.0.0/8"}, true},
      {{"::1/128"}, true},  // no IPv4 CIDR means all of IPv4
      {{"::1/128", "10.0.0.0/8"}, false},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(contains_ipv4_loopback(row.cidrs), row.wanted) << testing::PrintToString(row.cidrs);
    ProxyConfig config = default_config();
    EXPECT_EQ(localhost_node_ports(config, row.cidrs), row.wanted);
    config.iptables.localhost_node_ports = false;
    EXPECT_FALSE(localhost_node_ports(config, row.cidrs));
  }
}

TEST(HealthChecks, ListenWhereNodePortsAnswer) {
  const dataplane::NodePortAddresses all;
  const dataplane::NodePortAddresses some{false, ips_of({"192.0.2.1", "192.0.2.2"})};
  const std::vector<Family> both{k6, k4};
  EXPECT_THAT(texts_of(health_check_addresses(both, {all, all})), ElementsAre("::", "0.0.0.0"));
  EXPECT_THAT(texts_of(health_check_addresses(both, {some, all})), ElementsAre("::", "192.0.2.1", "192.0.2.2"));
  const std::vector<Family> one{k4};
  EXPECT_THAT(texts_of(health_check_addresses(one, {all, all})), ElementsAre("0.0.0.0"));
  EXPECT_THAT(health_check_addresses(one, {dataplane::NodePortAddresses{false, {}}, all}), IsEmpty());
}

}  // namespace
}  // namespace sluice::config
