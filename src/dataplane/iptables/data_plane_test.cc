// SPDX-License-Identifier: Apache-2.0
// The data plane against the real programs and kernel, in both flavours and families, each test in its own network
// namespace.
// Long, because every test here needs the same nodes and the same ways to look at their tables.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <map>
#include <random>

#include "dataplane/iptables/test_data_plane.h"

namespace sluice::dataplane::iptables {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// A Service of random shape; the same `index` gives the same key.
plan::PortDraft random_service(std::mt19937& random, Family family, unsigned index) {
  const auto chance = [&random](unsigned percent) { return random() % 100 < percent; };
  plan::PortDraft port = simple_service(family, index, 0);
  port.internal_local = chance(15);
  if (chance(40)) port.node_port = static_cast<std::uint16_t>(30000 + index);
  if (chance(25)) port.external_ips = {ip(address(family, "198.51", 0, index + 1))};
  if (chance(40)) port.load_balancer_ips = {ip(address(family, "192.0", 2, index + 1))};
  if (chance(25)) port.load_balancer_ips.push_back(ip(address(family, "192.0", 3, index + 1)));
  if (!port.load_balancer_ips.empty() && chance(50)) {
    port.source_ranges = {cidr(family == Family::kIPv4 ? "203.0.113.0/25" : "2001:db8::/32")};
    port.node_ip_in_source_ranges = chance(50);
  }
  port.externally_accessible = port.node_port != 0 || !port.external_ips.empty() || !port.load_balancer_ips.empty();
  port.external_local = port.externally_accessible && chance(40);
  if (port.external_local && chance(50)) port.health_check_node_port = static_cast<std::uint16_t>(31000 + index);
  if (chance(20)) port.affinity_seconds = 10800;
  port.uses_cluster_pool = !port.internal_local || port.externally_accessible;
  port.uses_local_pool = port.internal_local || port.external_local;
  const auto servers = static_cast<unsigned>(random() % 5);
  for (unsigned i = 0; i < servers; ++i) {
    if (chance(70))
      add_server(port, address(family, "10.180", index, i + 1), 8080, chance(30) ? Where::kHere : Where::kElsewhere);
  }
  return port;
}

INSTANTIATE_TEST_SUITE_P(All, DataPlaneTest, every_ground(), ground_name);

TEST_P(DataPlaneTest, WorkedExampleIsListedLikeKubeProxys) {
  if (GetParam().family != Family::kIPv4) return;  // the reference's listing is IPv4's
  in_fresh_netns([this] {
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    must_apply(*plane, full({shared(worked_example())}));
    std::istringstream text(read_file(testdata("worked_example.saved")));
    std::vector<std::string> expected;
    std::string table;
    for (std::string line; std::getline(text, line);) {
      if (line[0] == '*') table = line.substr(1);
      if (line[0] == '*' || line == "COMMIT") continue;
      expected.push_back(table + " " + line.substr(0, line[0] == ':' ? line.find(" [") : line.size()));
    }
    std::vector<std::string> live = saved_lines(tool());
    EXPECT_THAT(
        lines_with(live, "KUBE-PROXY-CANARY"),
        testing::ElementsAre("filter :KUBE-PROXY-CANARY -", "mangle :KUBE-PROXY-CANARY -", "nat :KUBE-PROXY-CANARY -"));
    std::erase_if(live, [](const std::string& line) {
      return line.starts_with("mangle ") || line.find("CANARY") != std::string::npos;
    });
    EXPECT_EQ(live, expected);
  });
}

TEST_P(DataPlaneTest, ASecondFullApplyTouchesNothing) {
  in_fresh_netns([this] {
    std::mt19937 random(7);
    std::vector<plan::ServicePortPlanPtr> ports;
    for (unsigned i = 0; i < 30; ++i) ports.push_back(shared(random_service(random, GetParam().family, i)));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    EXPECT_GT(must_apply(*plane, full(ports)).kernel_transactions, 0u);
    const std::vector<std::string> before = saved_lines(tool());
    // Nor does another process, which knows nothing.
    const auto restarted = open_plane(GetParam());
    ASSERT_TRUE(restarted);
    for (IptablesDataPlane* each : {plane.get(), restarted.get()}) {
      const ApplyStats stats = must_apply(*each, full(ports));
      EXPECT_EQ(stats.kernel_transactions, 0u);
      EXPECT_EQ(stats.rules_written, 0u);
      expect_no_difference(*each, full(ports));
    }
    EXPECT_EQ(saved_lines(tool()), before);
    EXPECT_EQ(plane->rules_by_table(), restarted->rules_by_table());
  });
}

TEST_P(DataPlaneTest, ManySmallChangesEndWhereOneFullApplyEnds) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::map<unsigned, plan::ServicePortPlanPtr> wanted;
    std::vector<std::string> by_steps;
    std::vector<std::pair<std::string, std::size_t>> counts;
    in_fresh_netns([&] {
      const auto plane = open_plane(GetParam());
      ASSERT_TRUE(plane);
      must_apply(*plane, full({}));
      for (int step = 0; step < 8; ++step) {
        Changes changes;
        std::map<plan::ServicePortKey, plan::Change> ordered;
        for (int i = 0; i < 6; ++i) {
          const auto index = static_cast<unsigned>(random() % 15);
          if (ordered.contains(simple_service(GetParam().family, index, 0).key)) continue;
          const auto before = wanted.contains(index) ? wanted[index] : nullptr;
          const auto after =
              before && random() % 3 == 0 ? nullptr : shared(random_service(random, GetParam().family, index));
          ordered[(before ? before : after)->key] = {before, after};
          wanted.erase(index);
          if (after) wanted[index] = after;
        }
        for (const auto& [key, change] : ordered) changes.ports.push_back(change);
        must_apply(*plane, changes);
        std::vector<plan::ServicePortPlanPtr> all;
        for (const auto& [index, port] : wanted) all.push_back(port);
        expect_no_difference(*plane, full(all));
      }
      by_steps = sorted(saved_lines(tool()));
      counts = plane->rules_by_table();
    });
    in_fresh_netns([&] {
      const auto plane = open_plane(GetParam());
      ASSERT_TRUE(plane);
      std::vector<plan::ServicePortPlanPtr> all;
      for (const auto& [index, port] : wanted) all.push_back(port);
      must_apply(*plane, full(all));
      EXPECT_EQ(sorted(saved_lines(tool())), by_steps);
      EXPECT_EQ(plane->rules_by_table(), counts);
    });
  }
}

// Upstream's TestSyncProxyRulesRepeated: what each kind of change costs.
TEST_P(DataPlaneTest, CostFollowsTheChange) {
  in_fresh_netns([] {
    const Family family = GetParam().family;
    std::vector<plan::ServicePortPlanPtr> ports;
    for (unsigned i = 0; i < 20; ++i) ports.push_back(shared(simple_service(family, i, 3)));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    must_apply(*plane, full(ports));

    // One real server more: the service's chain with 1 + 4 rules and the new chain with 2.
    const auto grown = shared(simple_service(family, 5, 4));
    ApplyStats stats = must_apply(*plane, one_change(ports[5], grown));
    EXPECT_EQ(stats.chains_written, 2u);
    EXPECT_EQ(stats.rules_written, 7u);
    EXPECT_EQ(stats.kernel_transactions, 1u);

    // And removed again: one chain is written, one deleted.
    stats = must_apply(*plane, one_change(grown, ports[5]));
    EXPECT_EQ(stats.chains_written, 1u);
    EXPECT_EQ(stats.rules_written, 4u);
    EXPECT_EQ(stats.kernel_transactions, 1u);

    // A new Service: its chains, and one rule in KUBE-SERVICES.
    const auto added = shared(simple_service(family, 40, 1));
    stats = must_apply(*plane, one_change(nullptr, added));
    EXPECT_EQ(stats.chains_written, 2u);
    EXPECT_EQ(stats.rules_written, 2 + 2 + 1u);
    EXPECT_EQ(stats.kernel_transactions, 1u);

    // And removed: one rule deleted, no chain written.
    stats = must_apply(*plane, one_change(added, nullptr));
    EXPECT_EQ(stats.chains_written, 0u);
    EXPECT_EQ(stats.rules_written, 1u);
    EXPECT_EQ(stats.kernel_transactions, 1u);

    // Without endpoints a Service is one refusal, which its first one removes.
    const auto empty = shared(simple_service(family, 41, 0));
    stats = must_apply(*plane, one_change(nullptr, empty));
    EXPECT_EQ(stats.rules_written, 1u);
    stats = must_apply(*plane, one_change(empty, shared(simple_service(family, 41, 1))));
    EXPECT_EQ(stats.rules_written, 2 + 2 + 1 + 1u);
    EXPECT_EQ(stats.kernel_transactions, 2u);

    // A few that are removed together are still deleted one by one.
    Changes some;
    for (unsigned i = 10; i < 15; ++i) some.ports.push_back({ports[i], nullptr});
    EXPECT_EQ(must_apply(*plane, some).rules_written, 5u);

    stats = must_apply(*plane, Changes{});
    EXPECT_EQ(stats.kernel_transactions, 0u);
  });
}

TEST_P(DataPlaneTest, RulesForNodePortsStayLast) {
  in_fresh_netns([this] {
    const Family family = GetParam().family;
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    must_apply(*plane, full({shared(simple_service(family, 0, 1))}));
    must_apply(*plane, one_change(nullptr, shared(simple_service(family, 1, 1))));
    const auto rules = lines_with(saved_lines(tool()), "nat -A KUBE-SERVICES ");
    ASSERT_EQ(rules.size(), 3u);
    EXPECT_THAT(rules.back(), HasSubstr("this must be the last rule"));
  });
}

TEST_P(DataPlaneTest, ManyRemovalsAtOnceRewriteTheDispatchChains) {
  in_fresh_netns([this] {
    const Family family = GetParam().family;
    std::vector<plan::ServicePortPlanPtr> ports;
    // Every other one without endpoints, so that filter has as much to forget as nat.
    for (unsigned i = 0; i < 300; ++i) ports.push_back(shared(simple_service(family, i, i % 2)));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    must_apply(*plane, full(ports));
    must_apply(*plane, one_change(ports.back(), nullptr));  // and it must not come back with a rewritten chain
    ports.pop_back();
    Changes changes;
    for (unsigned i = 0; i < 200; ++i) changes.ports.push_back({ports[i], nullptr});
    // nft: 49 rules and the one for node ports are rewritten in nat, 50 in filter; legacy: 200 are deleted one by
    // one.
    EXPECT_EQ(must_apply(*plane, changes).rules_written, GetParam().flavour == std::string("nft") ? 50 + 50u : 200u);
    const std::vector<plan::ServicePortPlanPtr> left(ports.begin() + 200, ports.end());
    expect_no_difference(*plane, full(left));
    EXPECT_EQ(lines_with(saved_lines(tool()), "nat -A KUBE-SERVICES ").size(), 50u);
    EXPECT_EQ(lines_with(saved_lines(tool()), "filter -A KUBE-SERVICES ").size(), 50u);
  });
}

TEST_P(DataPlaneTest, BlocksAreCutAsTheFlavourNeeds) {
  in_fresh_netns([this] {
    const Family family = GetParam().family;
    const bool nft = GetParam().flavour == std::string("nft");
    std::vector<plan::ServicePortPlanPtr> ports;
    for (unsigned i = 0; i < 900; ++i) ports.push_back(shared(simple_service(family, i, 1)));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    // 1,800 chains in three blocks and the dispatch chains in one; legacy: one block for each of three tables.
    EXPECT_EQ(must_apply(*plane, full(ports)).kernel_transactions, nft ? 1 + 3 + 1 + 1u : 3u);
    expect_no_difference(*plane, full(ports));
    EXPECT_EQ(must_apply(*plane, full({})).kernel_transactions, nft ? 1 + 3u : 1u);
    EXPECT_TRUE(lines_with(saved_lines(tool()), "KUBE-S").size() < 30) << "all chains of the ports are gone";
    expect_no_difference(*plane, full({}));
  });
}

TEST_P(DataPlaneTest, RepairsWhatOthersBroke) {
  struct Row {
    const char* name;
    std::vector<std::vector<std::string>> commands;  // after the program's name
  };
  const std::string nat_rule = GetParam().family == Family::kIPv4 ? "10.0.0.9" : "fd00::9";
  const NodePortAddresses everywhere;
  EncodeSettings settings;
  settings.family = GetParam().family;
  std::vector<std::string> tail_first{"-t", "nat", "-I", "KUBE-SERVICES", "-m", "comment", "--comment"};
  {
    // Split by its quotes; the comment is the only quoted word.
    const std::string rule = Encoder(settings).node_port_rules(everywhere).front();
    const std::size_t open_quote = rule.find('"');
    const std::size_t close_quote = rule.rfind('"');
    tail_first.push_back(rule.substr(open_quote + 1, close_quote - open_quote - 1));
    std::istringstream rest(rule.substr(close_quote + 1));
    for (std::string word; rest >> word;) tail_first.push_back(word);
  }
  const std::vector<Row> rows{
      {"nat flushed", {{"-t", "nat", "-F"}}},
      {"filter flushed", {{"-F"}}},
      {"a jump deleted", {{"-t", "nat", "-D", "PREROUTING", "1"}}},
      {"a jump doubled",
       {{"-t", "nat", "-I", "PREROUTING", "-m", "comment", "--comment", "kubernetes service portals", "-j",
         "KUBE-SERVICES"}}},
      {"a rule added to a dispatch chain", {{"-t", "nat", "-I", "KUBE-SERVICES", "-d", nat_rule, "-j", "RETURN"}}},
      {"a rule added behind those for node ports",
       {{"-t", "nat", "-A", "KUBE-SERVICES", "-d", nat_rule, "-j", "RETURN"}}},
      {"a rule doubled", {{"-t", "nat", "-A", "KUBE-MARK-MASQ", "-j", "RETURN"}}},
      {"a refusal deleted", {{"-D", "KUBE-SERVICES", "1"}}},
      {"the rules for node ports deleted", {{"-t", "nat", "-D", "KUBE-SERVICES", "3"}}},
      {"the rules for node ports moved to the head", {{"-t", "nat", "-D", "KUBE-SERVICES", "3"}, tail_first}},
      {"a stale chain",
       {{"-t", "nat", "-N", "KUBE-SVC-AAAAAAAAAAAAAAAA"}, {"-t", "nat", "-N", "KUBE-XLB-AAAAAAAAAAAAAAAA"}}},
  };
  in_fresh_netns([&] {
    const Family family = GetParam().family;
    const std::vector<plan::ServicePortPlanPtr> ports{shared(simple_service(family, 0, 2)),
                                                      shared(simple_service(family, 1, 1)),
                                                      shared(simple_service(family, 2, 0))};
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    must_apply(*plane, full(ports));
    const std::vector<std::string> right = sorted(saved_lines(tool()));
    for (const Row& row : rows) {
      SCOPED_TRACE(row.name);
      for (const auto& command : row.commands) {
        std::vector<std::string> arguments{tool().command, "-w", "5"};
        arguments.insert(arguments.end(), command.begin(), command.end());
        run(arguments);
      }
      const auto difference = plane->compare(full(ports));
      ASSERT_TRUE(difference) << difference.error().what;
      EXPECT_FALSE(difference->empty());
      must_apply(*plane, full(ports));
      expect_no_difference(*plane, full(ports));
      EXPECT_EQ(sorted(saved_lines(tool())), right);
    }
  });
}

TEST_P(DataPlaneTest, CanaryRevealsAFlush) {
  in_fresh_netns([this] {
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    EXPECT_EQ(*plane->intact(), Integrity::kDamaged) << "nothing applied yet";
    must_apply(*plane, full({}));
    EXPECT_EQ(*plane->intact(), Integrity::kKept);
    // The canary is lost with its chain; a flush of only another table leaves it, and removes our jumps.
    for (const std::vector<std::string>& flush :
         {std::vector<std::string>{"-t", "mangle", "-X", "KUBE-PROXY-CANARY"}, {"-t", "nat", "-F"}, {"-F"}}) {
      std::vector<std::string> command{tool().command, "-w", "5"};
      command.insert(command.end(), flush.begin(), flush.end());
      run(command);
      EXPECT_EQ(*plane->intact(), Integrity::kDamaged) << flush.back();
      must_apply(*plane, full({}));
      EXPECT_EQ(*plane->intact(), Integrity::kKept) << flush.back();
    }
  });
}

TEST_P(DataPlaneTest, ForeignRulesAreLeftAlone) {
  in_fresh_netns([this] {
    const Family family = GetParam().family;
    const std::string foreign =
        "*nat\n:CNI-HOSTPORT - [0:0]\n-A PREROUTING -j CNI-HOSTPORT\n-A CNI-HOSTPORT -p tcp -m tcp --dport 8080 -j "
        "RETURN\nCOMMIT\n"
        "*filter\n:KUBE-FIREWALL - [0:0]\n:KUBE-ROUTER - [0:0]\n-A INPUT -j KUBE-FIREWALL\n"
        "-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP\n-A FORWARD -p tcp -m tcp --dport 22 -j DROP\n"
        "-A KUBE-ROUTER -j RETURN\nCOMMIT\n"
        "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\n-A PREROUTING -j MARK --set-xmark 0x1/0x1\nCOMMIT\n";
    run({tool().restore, "--noflush"}, foreign);
    const std::vector<std::string> before = saved_lines(tool());
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    const auto port = shared(simple_service(family, 0, 2));
    must_apply(*plane, full({port}));
    must_apply(*plane, one_change(port, nullptr));
    must_apply(*plane, full({}));
    const std::vector<std::string> after = saved_lines(tool());
    for (const std::string& line : before) EXPECT_THAT(after, Contains(line));
    // The existing jump to KUBE-FIREWALL is not added twice.
    EXPECT_EQ(lines_with(after, "filter -A INPUT -j KUBE-FIREWALL").size(), 1u);
  });
}

TEST_P(DataPlaneTest, WhatKubeProxy1_20LeftIsReplaced) {
  if (GetParam().family != Family::kIPv4) return;  // the reference's listing is IPv4's
  std::vector<std::string> fresh;
  in_fresh_netns([&] {
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    must_apply(*plane, full({shared(worked_example())}));
    fresh = sorted(saved_lines(tool()));
  });
  in_fresh_netns([&] {
    const std::string rules = read_file(testdata("kube_proxy_1_20.saved"));
    std::string old = "*nat\n";
    for (const char* name : {"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-MARK-DROP",
                             "KUBE-FW-67NZLRHBNDSAWJRO", "KUBE-XLB-67NZLRHBNDSAWJRO", "KUBE-SVC-67NZLRHBNDSAWJRO",
                             "KUBE-SEP-ZZ5QQVSVEYRRQLTX", "KUBE-SEP-YCI5FLUZZZWLO7SW", "KUBE-SEP-P26T2QUDWUGPDQ7W"}) {
      old += fmt::format(":{} - [0:0]\n", name);
    }
    old +=
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n-A KUBE-POSTROUTING -j MARK --set-xmark "
        "0x4000/0x0\n"
        "-A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE "
        "--random-fully\n"
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n"
        "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n" +
        rules + "COMMIT\n" +
        "*filter\n:KUBE-FORWARD - [0:0]\n-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j "
        "KUBE-FORWARD\n"
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n"
        "-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding rules\" -m mark --mark 0x4000/0x4000 -j ACCEPT\n"
        "-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding conntrack pod source rule\" -m conntrack "
        "--ctstate RELATED,ESTABLISHED -j ACCEPT\n"
        "COMMIT\n";
    run({tool().restore, "--noflush"}, old);
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    must_apply(*plane, full({shared(worked_example())}));
    std::vector<std::string> live = sorted(saved_lines(tool()));
    EXPECT_THAT(live, Not(Contains(HasSubstr("KUBE-XLB-"))));
    std::erase(live, "nat :KUBE-MARK-DROP -");  // kubelet's
    // Chains of real servers differ from ours in comments at most, and were not touched.
    EXPECT_EQ(live, fresh);
    expect_no_difference(*plane, full({shared(worked_example())}));
  });
}

// Upstream's TestSyncProxyRulesLargeClusterMode.
TEST_P(DataPlaneTest, CommentsOfALargeClusterCauseNoRewrite) {
  in_fresh_netns([this] {
    const Family family = GetParam().family;
    const auto port = shared(simple_service(family, 0, 3));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    must_apply(*plane, full({port}));
    EXPECT_TRUE(plane->full_by_time());
    // Endpoints count, real servers or not, on both ways to apply.
    plan::PortDraft crowd = simple_service(family, 2, 0);
    crowd.endpoints_known = 1000 - 3;
    must_apply(*plane, one_change(nullptr, shared(crowd)));
    EXPECT_TRUE(plane->full_by_time()) << "1,000 are not many yet";
    plan::PortDraft larger = crowd;
    ++larger.endpoints_known;
    must_apply(*plane, one_change(shared(crowd), shared(larger)));
    EXPECT_FALSE(plane->full_by_time());
    EXPECT_EQ(must_apply(*plane, full({port, shared(larger)})).kernel_transactions, 0u);
    EXPECT_FALSE(plane->full_by_time());

    const auto other = shared(simple_service(family, 1, 1));
    must_apply(*plane, one_change(nullptr, other));
    EXPECT_EQ(lines_with(lines_with(saved_lines(tool()), "ns/svc-1:p"), "--comment").size(), 2u)
        << "dispatch and masquerading only";
    EXPECT_EQ(lines_with(saved_lines(tool()), "ns/svc-0:p ->").size(), 3u);
    must_apply(*plane, one_change(shared(larger), nullptr));
    EXPECT_TRUE(plane->full_by_time());
  });
}

// Upstream's TestProxierMetricsIPTablesTotalRules.
TEST_P(DataPlaneTest, CountsOfRulesAreThoseThatExist) {
  in_fresh_netns([this] {
    std::mt19937 random(11);
    std::vector<plan::ServicePortPlanPtr> ports;
    for (unsigned i = 0; i < 10; ++i) ports.push_back(shared(random_service(random, GetParam().family, i)));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    for (const auto& wanted : {std::vector<plan::ServicePortPlanPtr>{}, ports}) {
      const dataplane::ApplyStats stats = must_apply(*plane, full(wanted));
      const auto live = saved_lines(tool());
      for (const auto& [table, count] : plane->rules_by_table()) {
        EXPECT_EQ(count, lines_with(live, table + " -A KUBE-").size()) << table;
      }
      // As kube-proxy's: the first sync writes all that then exists, whatever jumps it had to insert.
      if (wanted.empty()) {
        EXPECT_THAT(stats.written_by_table, testing::IsSupersetOf(plane->rules_by_table()));
      }
    }
  });
}

TEST_P(DataPlaneTest, NodePortAddressesChangeWithAFullApply) {
  in_fresh_netns([this] {
    const Family family = GetParam().family;
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    Changes changes = full({shared(simple_service(family, 0, 1))});
    must_apply(*plane, changes);
    changes.node_port_addresses = {false, {ip(address(family, "192.168", 0, 2)), ip(address(family, "192.168", 0, 3))}};
    must_apply(*plane, changes);
    expect_no_difference(*plane, changes);
    EXPECT_EQ(lines_with(saved_lines(tool()), "this must be the last rule").size(), 2u);
    changes.node_port_addresses = {};
    must_apply(*plane, changes);
    expect_no_difference(*plane, changes);
    EXPECT_EQ(lines_with(saved_lines(tool()), "this must be the last rule").size(), 1u);
  });
}

TEST(DataPlane, InvalidPacketsPassWhereConntrackIsLiberal) {
  in_fresh_netns([] {
    run({"iptables-nft", "-t", "nat", "-S"});  // brings conntrack, and with it the setting, into the namespace
    run({"sh", "-c", "echo 1 > /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"});
    const auto plane = open_plane({Family::kIPv4, "nft"});
    ASSERT_TRUE(plane);
    must_apply(*plane, full({}));
    EXPECT_THAT(saved_lines(plane->tool()), Not(Contains(HasSubstr("INVALID"))));
  });
}

TEST(DataPlane, SctpAndUdpServicesAreServedInEveryCase) {
  for (const Ground& ground :
       {Ground{Family::kIPv4, "nft"}, Ground{Family::kIPv4, "legacy"}, Ground{Family::kIPv6, "nft"}}) {
    in_fresh_netns([&] {
      plan::PortDraft port = simple_service(ground.family, 0, 2);
      std::vector<plan::ServicePortPlanPtr> ports;
      for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
        port.key.protocol = protocol;
        ports.push_back(shared(port));
      }
      const auto plane = open_plane(ground);
      ASSERT_TRUE(plane);
      must_apply(*plane, full(ports));
      EXPECT_EQ(must_apply(*plane, full(ports)).kernel_transactions, 0u);
    });
  }
}

}  // namespace
}  // namespace sluice::dataplane::iptables
