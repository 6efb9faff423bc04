// SPDX-License-Identifier: Apache-2.0
#include "dataplane/iptables/encode.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

#include "dataplane/iptables/test_plans.h"

namespace sluice::dataplane::iptables {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

EncodeSettings pods_in_10() {
  EncodeSettings settings;
  settings.detector = pods_in("10.0.0.0/8");
  return settings;
}

std::string chain_lines(const std::vector<std::string_view>& names) {
  std::string text;
  for (const std::string_view name : names) text += fmt::format(":{} - [0:0]\n", name);
  return text;
}

std::string rule_lines(std::string_view chain, const std::vector<std::string>& rules) {
  std::string text;
  for (const std::string& rule : rules) text += fmt::format("-A {} {}\n", chain, rule);
  return text;
}

// A port's own chains in kube-proxy's order: the rule that masquerades cluster IP traffic comes before the external
// chain's.
std::string port_lines(const PortRules& rules) {
  std::string first;
  std::string rest;
  for (const PortChain& chain : rules.chains) {
    std::vector<std::string> left = chain.rules;
    const bool pool = chain.kind == ChainKind::kService || chain.kind == ChainKind::kServiceLocal;
    if (pool && left.front().ends_with("-j KUBE-MARK-MASQ")) {
      first += rule_lines(chain.name, {left.front()});
      left.erase(left.begin());
    }
    rest += rule_lines(chain.name, left);
  }
  return first + rest;
}

// All rules as kube-proxy gives them to one iptables-restore.
std::string as_kube_proxy_writes(const EncodeSettings& settings, const std::vector<plan::PortDraft>& ports,
                                 bool comments = true) {
  const Encoder encoder(settings);
  const NodePortAddresses addresses;
  const auto fixed = encoder.fixed_chains();
  const std::string martian = encoder.martian_rule(addresses);
  std::string filter = "*filter\n" + chain_lines({kServicesChain, kExternalServicesChain, kForwardChain,
                                                  kNodePortsChain, kProxyFirewallChain});
  if (!martian.empty()) filter += chain_lines({kFirewallChain}) + rule_lines(kFirewallChain, {martian});
  std::string nat_chains = "*nat\n" + chain_lines({kServicesChain, kNodePortsChain, kPostroutingChain, kMarkMasqChain});
  std::string nat = rule_lines(fixed[1].name, fixed[1].rules) + rule_lines(fixed[2].name, fixed[2].rules);
  for (const plan::PortDraft& port : ports) {
    const PortRules rules =
        encoder.encode_port(plan::finish(port, {settings.detector, false}), Detail::kRules, comments);
    for (const DispatchRule& rule : rules.dispatch) {
      (table_of(rule.chain) == Table::kNat ? nat : filter) += rule_lines(name_of(rule.chain), {rule.rule});
    }
    for (const PortChain& chain : rules.chains) nat_chains += chain_lines({chain.name});
    nat += port_lines(rules);
  }
  filter += rule_lines(fixed[0].name, fixed[0].rules) + "COMMIT\n";
  return filter + nat_chains + nat + rule_lines(kServicesChain, encoder.node_port_rules(addresses)) + "COMMIT\n";
}

std::string one_line_per_rule(const PortRules& rules) {
  std::string text;
  for (const DispatchRule& rule : rules.dispatch) {
    text += fmt::format("{} {} {}\n", to_string(table_of(rule.chain)), name_of(rule.chain), rule.rule);
  }
  for (const PortChain& chain : rules.chains) {
    for (const std::string& rule : chain.rules) text += fmt::format("nat {} {}\n", chain.name, rule);
  }
  return text;
}

PortRules encode(const EncodeSettings& settings, const plan::PortDraft& port, bool comments = true,
                 bool masquerade_all = false) {
  return Encoder(settings).encode_port(plan::finish(port, {settings.detector, masquerade_all}), Detail::kRules,
                                       comments);
}

std::vector<std::string> rules_of(const PortRules& rules, ChainKind kind) {
  for (const PortChain& chain : rules.chains) {
    if (chain.kind == kind) return chain.rules;
  }
  return {};
}

std::vector<std::string> rules_of(const PortRules& rules, DispatchChain chain) {
  std::vector<std::string> found;
  for (const DispatchRule& rule : rules.dispatch) {
    if (rule.chain == chain) found.push_back(rule.rule);
  }
  return found;
}

TEST(ChainNames, AreKubeProxysHashes) {
  struct Row {
    const char* name;
    plan::ServicePortKey key;
    const char* hash;
  };
  const std::vector<Row> rows{
      {"one", {{"ns1", "svc1"}, "p80", Protocol::kTcp, Family::kIPv4}, "XPGD46QRK7WJZT7O"},
      {"two", {{"ns2", "svc2"}, "p80", Protocol::kTcp, Family::kIPv4}, "GNZBNJ2PO5MGZ6GT"},
      {"shop", {{"shop", "web"}, "http", Protocol::kTcp, Family::kIPv4}, "67NZLRHBNDSAWJRO"},
      {"the family does not matter", {{"ns1", "svc1"}, "p80", Protocol::kTcp, Family::kIPv6}, "XPGD46QRK7WJZT7O"},
  };
  for (const Row& row : rows) EXPECT_EQ(port_hash(row.key), row.hash) << row.name;
  plan::RealServer server;
  server.address = ip("10.180.0.1");
  server.port = 80;
  EXPECT_EQ(real_server_hash(rows[0].key, server), "SXIVWICOYRO3J4NJ");
}

TEST(ChainNames, ProtocolsOfOnePortNumberHaveTheirOwnChains) {
  plan::ServicePortKey key{{"ns", "dns"}, "dns", Protocol::kTcp, Family::kIPv4};
  const std::string tcp = port_hash(key);
  key.protocol = Protocol::kUdp;
  EXPECT_NE(port_hash(key), tcp);
}

TEST(ChainNames, HaveTheirKind) {
  ChainKind kind{};
  EXPECT_TRUE(parse_port_chain("KUBE-XLB-67NZLRHBNDSAWJRO", kind));
  EXPECT_EQ(kind, ChainKind::kExternalOld);
  EXPECT_TRUE(parse_port_chain("KUBE-SEP-67NZLRHBNDSAWJRO", kind));
  EXPECT_EQ(kind, ChainKind::kRealServer);
  for (const char* other : {"KUBE-SERVICES", "KUBE-FIREWALL", "KUBE-FORWARD", "SVC-X"})
    EXPECT_FALSE(parse_port_chain(other, kind)) << other;
}

TEST(Encode, WorkedExampleByteForByte) {
  expect_golden("worked_example.restore", as_kube_proxy_writes(pods_in_10(), {worked_example()}));
}

// Upstream's TestOverallIPTablesRules: six Services of different shapes at once.
TEST(Encode, OverallRules) {
  std::vector<plan::PortDraft> ports;
  plan::PortDraft plain = cluster_ip_port("ns1", "svc1", "p80", "172.30.0.41");
  add_server(plain, "10.180.0.1", 80, Where::kElsewhere);
  ports.push_back(plain);

  plan::PortDraft local = cluster_ip_port("ns2", "svc2", "p80", "172.30.0.42");
  local.node_port = 3001;
  local.health_check_node_port = 30000;
  local.external_ips = {ip("192.168.99.22")};
  local.load_balancer_ips = {ip("1.2.3.4")};
  local.external_local = local.externally_accessible = local.uses_local_pool = true;
  add_server(local, "10.180.0.2", 80, Where::kElsewhere);
  ports.push_back(local);

  plan::PortDraft node_port = cluster_ip_port("ns3", "svc3", "p80", "172.30.0.43");
  node_port.node_port = 3002;
  node_port.externally_accessible = true;
  add_server(node_port, "10.180.0.3", 80, Where::kElsewhere);
  ports.push_back(node_port);

  plan::PortDraft external = cluster_ip_port("ns4", "svc4", "p80", "172.30.0.44");
  external.external_ips = {ip("192.168.99.33")};
  external.externally_accessible = true;
  add_server(external, "10.180.0.4", 80, Where::kHere);
  add_server(external, "10.180.0.5", 80, Where::kElsewhere);
  ports.push_back(external);

  plan::PortDraft ranges = cluster_ip_port("ns5", "svc5", "p80", "172.30.0.45");
  ranges.node_port = 3003;
  ranges.load_balancer_ips = {ip("5.6.7.8")};
  ranges.source_ranges = {cidr("203.0.113.0/25")};
  ranges.externally_accessible = true;
  ranges.affinity_seconds = 10800;
  add_server(ranges, "10.180.0.3", 80, Where::kElsewhere);
  ports.push_back(ranges);

  ports.push_back(cluster_ip_port("ns6", "svc6", "p80", "172.30.0.46"));
  expect_golden("overall.restore", as_kube_proxy_writes(pods_in_10(), ports));
}

TEST(Encode, IPv6WithSctpAndTwoPools) {
  EncodeSettings settings;
  settings.family = Family::kIPv6;
  settings.detector = pods_in("fd00:10::/32");
  plan::PortDraft port = cluster_ip_port("ns", "media", "", "fd00:20::1");
  port.key.protocol = Protocol::kSctp;
  port.node_port = 30132;
  port.external_ips = {ip("2001:db8::5")};
  port.external_local = port.externally_accessible = port.uses_local_pool = port.internal_local = true;
  add_server(port, "fd00:10::1", 9000, Where::kHere);
  add_server(port, "fd00:10::2", 9000, Where::kElsewhere);
  expect_golden("ipv6_sctp.restore", as_kube_proxy_writes(settings, {port}));
}

TEST(Encode, WithoutAnyServiceFourRulesInFilterAndFiveInNat) {
  const Encoder encoder(pods_in_10());
  EXPECT_EQ(encoder.fixed_rule_count(Table::kFilter, {}), 4u);
  EXPECT_EQ(encoder.fixed_rule_count(Table::kNat, {}), 5u);
}

// The table "variants of the same service" of the reference.
TEST(Encode, NoLocalRealServerKeepsTheShortCircuitAndDropsTheRest) {
  const PortRules rules = encode(pods_in_10(), worked_example(0));
  EXPECT_THAT(rules_of(rules, ChainKind::kServiceLocal), IsEmpty());
  EXPECT_EQ(rules_of(rules, ChainKind::kExternal).size(), 3u);
  EXPECT_THAT(
      rules_of(rules, DispatchChain::kFilterExternalServices),
      ElementsAre(
          "-m comment --comment \"shop/web:http has no local endpoints\" -m tcp -p tcp -d 192.0.2.80 --dport 80 -j "
          "DROP",
          "-m comment --comment \"shop/web:http has no local endpoints\" -m addrtype --dst-type LOCAL -m tcp -p tcp "
          "--dport 30080 -j DROP"));
  EXPECT_EQ(rules_of(rules, DispatchChain::kNatServices).size(), 2u);
}

TEST(Encode, NoEndpointsRejectsEverywhere) {
  plan::PortDraft port = worked_example(0, 0);
  port.external_ips = {ip("198.51.100.9")};
  EXPECT_EQ(one_line_per_rule(encode(pods_in_10(), port)),
            "filter KUBE-SERVICES -m comment --comment \"shop/web:http has no endpoints\" -m tcp -p tcp -d "
            "172.30.10.20 --dport 80 -j REJECT\n"
            "filter KUBE-EXTERNAL-SERVICES -m comment --comment \"shop/web:http has no endpoints\" -m tcp -p tcp -d "
            "198.51.100.9 --dport 80 -j REJECT\n"
            "filter KUBE-EXTERNAL-SERVICES -m comment --comment \"shop/web:http has no endpoints\" -m tcp -p tcp -d "
            "192.0.2.80 --dport 80 -j REJECT\n"
            "filter KUBE-EXTERNAL-SERVICES -m comment --comment \"shop/web:http has no endpoints\" -m addrtype "
            "--dst-type LOCAL -m tcp -p tcp --dport 30080 -j REJECT\n"
            "filter KUBE-NODEPORTS -m comment --comment \"shop/web:http health check node port\" -m tcp -p tcp --dport "
            "32123 -j ACCEPT\n");
}

TEST(Encode, ExternalPolicyClusterMasqueradesAll) {
  plan::PortDraft port = worked_example();
  port.external_local = port.uses_local_pool = false;
  port.health_check_node_port = 0;
  for (plan::RealServer& server : port.real_servers) server.in_local_pool = false;
  const PortRules rules = encode(pods_in_10(), port);
  EXPECT_THAT(
      rules_of(rules, ChainKind::kExternal),
      ElementsAre(
          "-m comment --comment \"masquerade traffic for shop/web:http external destinations\" -j KUBE-MARK-MASQ",
          "-j KUBE-SVC-67NZLRHBNDSAWJRO"));
  EXPECT_THAT(rules_of(rules, ChainKind::kServiceLocal), IsEmpty());
  EXPECT_THAT(rules_of(rules, DispatchChain::kFilterNodePorts), IsEmpty());
}

TEST(Encode, DetectorsSpellTheirMatches) {
  struct Row {
    const char* name;
    plan::LocalDetector detector;
    std::string local;
    std::string others;
  };
  plan::LocalDetector bridge;
  bridge.kind = plan::LocalDetector::Kind::kInterface;
  bridge.interface = "cni0";
  plan::LocalDetector prefix = bridge;
  prefix.kind = plan::LocalDetector::Kind::kInterfacePrefix;
  prefix.interface = "veth";
  for (const Row& row : {Row{"prefix of pods", pods_in("10.0.0.0/8"), " -s 10.0.0.0/8 -j", " ! -s 10.0.0.0/8 -j"},
                         Row{"bridge", bridge, " -i cni0 -j", " ! -i cni0 -j"},
                         Row{"interface prefix", prefix, " -i veth+ -j", " ! -i veth+ -j"}}) {
    EncodeSettings settings;
    settings.detector = row.detector;
    const PortRules rules = encode(settings, worked_example());
    EXPECT_THAT(rules_of(rules, ChainKind::kExternal).front(), HasSubstr(row.local)) << row.name;
    EXPECT_THAT(rules_of(rules, ChainKind::kService).front(), HasSubstr(row.others)) << row.name;
  }
}

TEST(Encode, WithoutDetectorPodsAreHandledLikeOthers) {
  const PortRules rules = encode(EncodeSettings{}, worked_example());
  EXPECT_THAT(rules_of(rules, ChainKind::kExternal), Not(Contains(HasSubstr("pod traffic"))));
  EXPECT_THAT(rules_of(rules, ChainKind::kService), Not(Contains(HasSubstr("cluster IP"))));
}

TEST(Encode, MasqueradeAllIgnoresTheSource) {
  EXPECT_EQ(
      rules_of(encode(pods_in_10(), worked_example(), true, true), ChainKind::kService).front(),
      "-m comment --comment \"shop/web:http cluster IP\" -m tcp -p tcp -d 172.30.10.20 --dport 80 -j KUBE-MARK-MASQ");
}

TEST(Encode, WithoutSourceRangesNoFirewallChain) {
  plan::PortDraft port = worked_example();
  port.source_ranges.clear();
  const PortRules rules = encode(pods_in_10(), port);
  EXPECT_THAT(rules_of(rules, ChainKind::kFirewall), IsEmpty());
  EXPECT_THAT(rules_of(rules, DispatchChain::kFilterProxyFirewall), IsEmpty());
  EXPECT_THAT(rules_of(rules, DispatchChain::kNatServices).back(), HasSubstr("-j KUBE-EXT-67NZLRHBNDSAWJRO"));
}

TEST(Encode, NodeOutsideTheRangesIsNotAcceptedByTheBalancersAddress) {
  plan::PortDraft port = worked_example();
  port.node_ip_in_source_ranges = false;
  EXPECT_EQ(rules_of(encode(pods_in_10(), port), ChainKind::kFirewall).size(), 3u);
}

TEST(Encode, InternalPolicyLocalDispatchesToTheLocalPool) {
  plan::PortDraft port = cluster_ip_port("ns", "svc", "p", "10.96.0.1");
  port.internal_local = port.uses_local_pool = true;
  port.uses_cluster_pool = false;
  add_server(port, "10.0.0.1", 80, Where::kHere);
  add_server(port, "10.0.0.2", 80, Where::kElsewhere);
  const PortRules rules = encode(pods_in_10(), port);
  EXPECT_THAT(rules_of(rules, DispatchChain::kNatServices).front(), HasSubstr("-j KUBE-SVL-"));
  EXPECT_THAT(rules_of(rules, ChainKind::kServiceLocal).front(), HasSubstr("! -s 10.0.0.0/8 -j KUBE-MARK-MASQ"));
  EXPECT_THAT(rules_of(rules, ChainKind::kService), IsEmpty());
  EXPECT_EQ(std::count_if(rules.chains.begin(), rules.chains.end(),
                          [](const PortChain& chain) { return chain.kind == ChainKind::kRealServer; }),
            1);
}

TEST(Encode, InternalPolicyLocalWithoutLocalRealServerDrops) {
  plan::PortDraft port = cluster_ip_port("ns", "svc", "p", "10.96.0.1");
  port.internal_local = port.uses_local_pool = true;
  port.uses_cluster_pool = false;
  add_server(port, "10.0.0.2", 80, Where::kElsewhere);
  const PortRules rules = encode(pods_in_10(), port);
  EXPECT_THAT(
      rules_of(rules, DispatchChain::kFilterServices),
      ElementsAre(
          "-m comment --comment \"ns/svc:p has no local endpoints\" -m tcp -p tcp -d 10.96.0.1 --dport 80 -j DROP"));
  EXPECT_THAT(rules_of(rules, DispatchChain::kNatServices), IsEmpty());
  EXPECT_THAT(rules.chains, IsEmpty());
}

TEST(Encode, OneRealServerNeedsNoRandomChoice) {
  const PortRules rules = encode(EncodeSettings{}, worked_example(1, 1));
  EXPECT_EQ(rules_of(rules, ChainKind::kService).back(),
            "-m comment --comment \"shop/web:http -> 10.180.0.1:8080\" -j KUBE-SEP-ZZ5QQVSVEYRRQLTX");
}

// Upstream's TestComputeProbability.
TEST(Encode, ProbabilitiesHaveTenDecimals) {
  plan::PortDraft port = cluster_ip_port("ns", "svc", "p", "10.96.0.1");
  for (int i = 1; i <= 50; ++i) add_server(port, fmt::format("10.1.0.{}", i), 80, Where::kElsewhere);
  const std::vector<std::string> rules = rules_of(encode(EncodeSettings{}, port), ChainKind::kService);
  ASSERT_EQ(rules.size(), 50u);
  for (const auto& [left, text] : std::vector<std::pair<std::size_t, std::string>>{
           {50, "0.0200000000"}, {10, "0.1000000000"}, {7, "0.1428571429"}, {3, "0.3333333333"}, {2, "0.5000000000"}}) {
    EXPECT_THAT(rules[50 - left], HasSubstr(" --probability " + text + " ")) << left;
  }
  EXPECT_THAT(rules.back(), Not(HasSubstr("statistic")));
}

// Upstream's TestSyncProxyRulesLargeClusterMode, as far as text goes.
TEST(Encode, LargeClusterModeLeavesOutTheCommentsOfPoolsAndRealServersOnly) {
  const PortRules rules = encode(pods_in_10(), worked_example(), false);
  for (const PortChain& chain : rules.chains) {
    for (const std::string& rule : chain.rules) {
      const bool kept = rule.find("cluster IP") != std::string::npos || chain.kind == ChainKind::kFirewall ||
                        (chain.kind == ChainKind::kExternal && !rule.starts_with("-j"));
      EXPECT_EQ(rule.find("--comment") != std::string::npos, kept) << rule;
    }
  }
}

// Upstream's TestDropInvalidRule and TestMasqueradeRule.
TEST(Encode, LiberalConntrackSuppressesTheDropOfInvalidPackets) {
  EncodeSettings settings;
  EXPECT_THAT(Encoder(settings).fixed_chains()[0].rules, Contains("-m conntrack --ctstate INVALID -j DROP"));
  settings.tcp_be_liberal = true;
  EXPECT_THAT(Encoder(settings).fixed_chains()[0].rules, Not(Contains(HasSubstr("INVALID"))));
}

TEST(Encode, MasqueradeIsFullyRandomIfTheToolSupportsIt) {
  EncodeSettings settings;
  EXPECT_THAT(Encoder(settings).fixed_chains()[1].rules.back(), HasSubstr("-j MASQUERADE --random-fully"));
  settings.random_fully = false;
  EXPECT_TRUE(Encoder(settings).fixed_chains()[1].rules.back().ends_with("-j MASQUERADE"));
}

TEST(Encode, MasqueradeBitIsTheMark) {
  EncodeSettings settings;
  settings.masquerade_bit = 0;
  EXPECT_THAT(Encoder(settings).fixed_chains()[2].rules, ElementsAre("-j MARK --or-mark 0x00000001"));
  settings.masquerade_bit = 31;
  EXPECT_THAT(Encoder(settings).fixed_chains()[2].rules, ElementsAre("-j MARK --or-mark 0x80000000"));
}

TEST(Encode, NodePortRulesFollowTheAddresses) {
  struct Row {
    const char* name;
    Family family;
    bool localhost;
    NodePortAddresses addresses;
    std::vector<std::string> matches;
    bool martian;
  };
  const std::vector<Row> rows{
      {"all, localhost", Family::kIPv4, true, {}, {"-m addrtype --dst-type LOCAL"}, true},
      {"all, no localhost", Family::kIPv4, false, {}, {"-m addrtype --dst-type LOCAL ! -d 127.0.0.0/8"}, false},
      {"all, IPv6", Family::kIPv6, true, {}, {"-m addrtype --dst-type LOCAL ! -d ::1/128"}, false},
      {"listed", Family::kIPv4, true, {false, {ip("192.168.0.2")}}, {"-d 192.168.0.2"}, false},
      {"listed with loopback",
       Family::kIPv4,
       true,
       {false, {ip("127.0.0.1"), ip("192.168.0.2")}},
       {"-d 127.0.0.1", "-d 192.168.0.2"},
       true},
      {"listed with loopback, no localhost",
       Family::kIPv4,
       false,
       {false, {ip("127.0.0.1"), ip("192.168.0.2")}},
       {"-d 192.168.0.2"},
       false},
      {"listed, IPv6 loopback", Family::kIPv6, true, {false, {ip("::1"), ip("fd00::2")}}, {"-d fd00::2"}, false},
      {"none", Family::kIPv4, true, {false, {}}, {}, false},
  };
  for (const Row& row : rows) {
    EncodeSettings settings;
    settings.family = row.family;
    settings.localhost_node_ports = row.localhost;
    const Encoder encoder(settings);
    std::vector<std::string> expected;
    for (const std::string& match : row.matches) {
      expected.push_back(
          "-m comment --comment \"kubernetes service nodeports; NOTE: this must be the last rule in this chain\" " +
          match + " -j KUBE-NODEPORTS");
    }
    EXPECT_EQ(encoder.node_port_rules(row.addresses), expected) << row.name;
    EXPECT_EQ(!encoder.martian_rule(row.addresses).empty(), row.martian) << row.name;
  }
}

// Upstream's TestNumberIptablesRules.
TEST(Encode, NumbersOfRulesPerService) {
  for (const std::size_t servers : {0u, 1u, 3u, 10u}) {
    plan::PortDraft plain = cluster_ip_port("ns", "svc", "p", "10.96.0.1");
    plan::PortDraft ranged = plain;
    ranged.node_port = 30000;
    ranged.external_ips = {ip("198.51.100.1")};
    ranged.load_balancer_ips = {ip("192.0.2.1")};
    ranged.source_ranges = {cidr("203.0.113.0/25")};
    ranged.node_ip_in_source_ranges = true;
    ranged.externally_accessible = true;
    for (std::size_t i = 0; i < servers; ++i) {
      add_server(plain, fmt::format("10.0.0.{}", i + 1), 80, Where::kElsewhere);
      add_server(ranged, fmt::format("10.0.0.{}", i + 1), 80, Where::kElsewhere);
    }
    const PortRules few = encode(pods_in_10(), plain);
    EXPECT_EQ(few.rule_count(Table::kFilter), servers == 0 ? 1u : 0u) << servers;
    EXPECT_EQ(few.rule_count(Table::kNat), servers == 0 ? 0u : 5 + 3 * (servers - 1)) << servers;
    const PortRules many = encode(pods_in_10(), ranged);
    EXPECT_EQ(many.rule_count(Table::kFilter), servers == 0 ? 4u : 1u) << servers;
    EXPECT_EQ(many.rule_count(Table::kNat), servers == 0 ? 0u : 13 + 3 * (servers - 1)) << servers;
  }
}

TEST(Encode, LessDetailIsAPrefixOfMore) {
  const Encoder encoder(pods_in_10());
  const plan::ServicePortPlan port = plan::finish(worked_example(), {pods_in("10.0.0.0/8"), false});
  const PortRules all = encoder.encode_port(port, Detail::kRules);
  const PortRules names = encoder.encode_port(port, Detail::kChainNames);
  EXPECT_EQ(encoder.encode_port(port, Detail::kDispatch).dispatch, all.dispatch);
  EXPECT_THAT(encoder.encode_port(port, Detail::kDispatch).chains, IsEmpty());
  ASSERT_EQ(names.chains.size(), all.chains.size());
  for (std::size_t i = 0; i < all.chains.size(); ++i) {
    EXPECT_EQ(names.chains[i].name, all.chains[i].name);
    EXPECT_THAT(names.chains[i].rules, IsEmpty());
  }
}

TEST(Encode, OddNamesCannotBreakOutOfTheirComment) {
  plan::PortDraft port = cluster_ip_port("ns", "svc\"\n-A INPUT -j DROP", "p", "10.96.0.1");
  add_server(port, "10.0.0.1", 80, Where::kElsewhere);
  const PortRules rules = encode(EncodeSettings{}, port);
  for (const DispatchRule& rule : rules.dispatch) EXPECT_EQ(rule.rule.find('\n'), std::string::npos) << rule.rule;
  EXPECT_EQ(std::count(rules.dispatch[0].rule.begin(), rules.dispatch[0].rule.end(), '"'), 2);
}

TEST(Encode, CommentsFitIntoWhatTheKernelKeepsHoweverLongTheName) {
  plan::PortDraft port = cluster_ip_port("ns", std::string(253, 'a'), "p", "10.96.0.1");
  add_server(port, "10.0.0.1", 80, Where::kElsewhere);
  const PortRules rules = encode(pods_in_10(), port);
  std::vector<std::string> all;
  for (const DispatchRule& rule : rules.dispatch) all.push_back(rule.rule);
  for (const PortChain& chain : rules.chains) all.insert(all.end(), chain.rules.begin(), chain.rules.end());
  std::size_t comments = 0;
  for (const std::string& rule : all) {
    const std::size_t begin = rule.find("--comment ");
    if (begin == std::string::npos) continue;
    ++comments;
    const std::string text = rule.substr(begin + std::string_view("--comment ").size());
    const bool quoted = text.front() == '"';
    EXPECT_LE(text.find(quoted ? '"' : ' ', 1) - (quoted ? 1 : 0), 255U) << rule;
  }
  EXPECT_GE(comments, 4U);
}

}  // namespace
}  // namespace sluice::dataplane::iptables
