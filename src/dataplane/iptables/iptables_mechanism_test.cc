// SPDX-License-Identifier: Apache-2.0
#include "dataplane/iptables/iptables_mechanism.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstdlib>

#include "dataplane/iptables/iptables_data_plane.h"
#include "dataplane/iptables/leftover_rules.h"
#include "dataplane/iptables/test_netns.h"
#include "dataplane/iptables/test_plans.h"
#include "sys/fake_sysctls.h"

namespace sluice::dataplane::iptables {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// Objects of other programs: all three tables exist, with rules in the kernel's chains and chains of their own.
constexpr const char* kForeign =
    "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\n-A PREROUTING -j MARK --set-xmark 0x1/0x1\nCOMMIT\n"
    "*filter\n:KUBE-FIREWALL - [0:0]\n:MINE - [0:0]\n-A INPUT -j KUBE-FIREWALL\n-A OUTPUT -j KUBE-FIREWALL\n-A FORWARD "
    "-j MINE\n"
    "-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP\n-A MINE -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"
    "*nat\n:KUBE-MARK-DROP - [0:0]\n:CNI-X - [0:0]\n-A POSTROUTING -j CNI-X\n-A KUBE-MARK-DROP -j MARK --set-xmark "
    "0x8000/0x8000\nCOMMIT\n";

// What mode ipvs lists as its own (dataplane/ipvs/kube_proxy_names.cc).
OwnedRules rules_of_mode_ipvs() {
  return {{{"nat", "KUBE-LOAD-BALANCER"},
           {"nat", "KUBE-NODE-PORT"},
           {"nat", "KUBE-FIREWALL"},
           {"filter", "KUBE-NODE-PORT"},
           {"filter", "KUBE-SOURCE-RANGES-FIREWALL"},
           {"filter", "KUBE-IPVS-FILTER"},
           {"filter", "KUBE-IPVS-OUT-FILTER"}},
          {"KUBE-CLUSTER-IP"},
          {"kube-proxy firewall rules"}};
}

struct Cleaned {
  std::vector<std::string> removed;
  std::vector<std::string> problems;
  std::size_t pieces = 0;
};

void note(Cleaned& cleaned, Removal&& removal) {
  for (const Objects& objects : removal.removed) cleaned.removed.push_back(objects.to_string());
  cleaned.problems.insert(cleaned.problems.end(), removal.problems.begin(), removal.problems.end());
}

// Mode iptables on a node whose settings are a map.
struct Node {
  sys::FakeSysctls sysctls{{{kRouteLocalnet, "0"}}, {}};
  IptablesMechanism mechanism(std::string_view flavour = "auto") {
    MechanismSettings settings;
    settings.flavour = flavour_named(flavour);
    return {settings, sysctls.journal(), sysctls.access()};
  }
};

Cleaned clean_up(Mechanism& mechanism, std::span<const Family> serving = {}) {
  Cleaned cleaned;
  Leftovers leftovers = mechanism.leftovers(serving);
  cleaned.problems = leftovers.problems;
  note(cleaned, remove_all(mechanism, std::move(leftovers)));
  return cleaned;
}

// The clean-up of a node that serves nothing: mode ipvs first.
Cleaned clean_up() {
  Node node;
  Cleaned cleaned;
  const auto rules = open_rules(rules_of_mode_ipvs());
  for (Leftovers left = rules->leftovers(); !left.objects.empty();) {
    Removal removal = rules->remove(std::move(left));
    left = std::move(removal.left);
    note(cleaned, std::move(removal));
  }
  IptablesMechanism mechanism = node.mechanism();
  Cleaned iptables = clean_up(mechanism);
  cleaned.removed.insert(cleaned.removed.end(), iptables.removed.begin(), iptables.removed.end());
  cleaned.problems.insert(cleaned.problems.end(), iptables.problems.begin(), iptables.problems.end());
  return cleaned;
}

Changes some_services(Family family) {
  Changes changes;
  changes.full = true;
  if (family == Family::kIPv4) {
    changes.ports.push_back({nullptr, shared(worked_example())});
    changes.ports.push_back({nullptr, shared(cluster_ip_port("ns", "empty", "p", "172.30.0.9"))});
  } else {
    plan::PortDraft port = cluster_ip_port("ns", "six", "p", "fd00::1");
    add_server(port, "fd00::2", 80, Where::kElsewhere);
    changes.ports.push_back({nullptr, shared(port)});
  }
  return changes;
}

TEST(Cleanup, LeavesTheNodeAsItWasInBothFlavours) {
  for (const Family family : kFamilies) {
    in_fresh_netns([&] {
      std::vector<std::vector<std::string>> before;
      for (const Tool& tool : installed_tools(family)) {
        run({tool.restore, "--noflush"}, kForeign);
        before.push_back(saved_lines(tool));
        Options options;
        options.family = family;
        options.flavour = tool.flavour;
        options.localhost_node_ports =
            false;  // the martian rule would stay in kubelet's chain, as it does after kube-proxy
        const auto plane = IptablesDataPlane::open(options);
        ASSERT_TRUE(plane) << plane.error().what;
        const auto applied = (*plane)->apply(some_services(family));
        ASSERT_TRUE(applied) << applied.error().what;
        EXPECT_NE(saved_lines(tool), before.back());
      }
      ASSERT_EQ(before.size(), 2u);
      const Cleaned done = clean_up();
      ASSERT_THAT(done.problems, IsEmpty());
      EXPECT_EQ(saved_lines(tool_for(family, "nft")), before[0]);
      EXPECT_EQ(saved_lines(tool_for(family, "legacy")), before[1]);
      EXPECT_THAT(clean_up().removed, IsEmpty()) << "again, with nothing to do";
    });
  }
}

TEST(Cleanup, CreatesNothingWhereThereIsNothing) {
  in_fresh_netns([] {
    const Cleaned done = clean_up();
    ASSERT_THAT(done.problems, IsEmpty());
    EXPECT_THAT(saved_lines(tool_for(Family::kIPv4, "nft")), IsEmpty());
    EXPECT_THAT(saved_lines(tool_for(Family::kIPv4, "legacy")), IsEmpty());
  });
}

TEST(Cleanup, KubeFirewallIsRemovedOnlyIfItIsOnlyOurs) {
  struct Row {
    const char* name;
    const char* before;
    bool goes;
    bool rule_goes;
  };
  const std::vector<Row> rows{
      {"no kubelet, our rule only", "", true, true},
      {"kubelet is there", "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n", false, false},
      {"an older kubelet's hint", "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n", false, false},
      {"another rule in it",
       "*filter\n:KUBE-FIREWALL - [0:0]\n-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP\nCOMMIT\n", false, true},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    in_fresh_netns([&] {
      const Tool tool = tool_for(Family::kIPv4, "nft");
      run({tool.restore, "--noflush"}, row.before);
      Options options;
      options.flavour = Flavour::kNft;
      const auto plane = IptablesDataPlane::open(options);
      ASSERT_TRUE(plane) << plane.error().what;
      ASSERT_TRUE((*plane)->apply(some_services(Family::kIPv4)));
      EXPECT_THAT(saved_lines(tool), Contains(HasSubstr("block incoming localnet")));
      const Cleaned done = clean_up();
      ASSERT_THAT(done.problems, IsEmpty());
      const auto after = lines_with(saved_lines(tool), "KUBE-FIREWALL");
      EXPECT_EQ(after.empty(), row.goes) << testing::PrintToString(after);
      EXPECT_EQ(lines_with(after, "block incoming localnet").empty(), row.rule_goes) << testing::PrintToString(after);
      EXPECT_EQ(lines_with(after, "0x8000").empty(), std::string(row.before).find("0x8000") == std::string::npos);
    });
  }
}

// What kube-proxy's mode ipvs leaves.
const std::string& ipvs_mode_rules() {
  static const std::string rules =
      "*nat\n:KUBE-LOAD-BALANCER - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-NODE-PORT - [0:0]\n:KUBE-POSTROUTING - "
      "[0:0]\n"
      ":KUBE-SERVICES - [0:0]\n:KUBE-FIREWALL - [0:0]\n"
      "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"
      "-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"
      "-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n"
      "-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ\n-A KUBE-LOAD-BALANCER -j KUBE-FIREWALL\n"
      "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN\n"
      "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT\nCOMMIT\n"
      "*filter\n:KUBE-FORWARD - [0:0]\n:KUBE-IPVS-FILTER - [0:0]\n:KUBE-IPVS-OUT-FILTER - [0:0]\n:KUBE-NODE-PORT - "
      "[0:0]\n"
      ":KUBE-PROXY-FIREWALL - [0:0]\n:KUBE-SOURCE-RANGES-FIREWALL - [0:0]\n"
      "-A INPUT -m comment --comment \"kubernetes ipvs access filter\" -j KUBE-IPVS-FILTER\n"
      "-A INPUT -m comment --comment \"kube-proxy firewall rules\" -j KUBE-PROXY-FIREWALL\n"
      "-A INPUT -m comment --comment \"kubernetes health check rules\" -j KUBE-NODE-PORT\n"
      "-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\n"
      "-A OUTPUT -m comment --comment \"kubernetes ipvs access filter\" -j KUBE-IPVS-OUT-FILTER\n"
      "-A KUBE-PROXY-FIREWALL -j KUBE-SOURCE-RANGES-FIREWALL\n-A KUBE-SOURCE-RANGES-FIREWALL -j DROP\nCOMMIT\n"
      "*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n";
  return rules;
}

TEST(Cleanup, ChainsOfTheIpvsModeAreRemovedToo) {
  in_fresh_netns([] {
    for (const char* flavour : {"nft", "legacy"})
      run({fmt::format("iptables-{}-restore", flavour), "--noflush"}, ipvs_mode_rules());
    const Cleaned done = clean_up();
    ASSERT_THAT(done.problems, IsEmpty());
    for (const char* flavour : {"nft", "legacy"}) {
      EXPECT_THAT(saved_lines(tool_for(Family::kIPv4, flavour)), Not(Contains(HasSubstr("KUBE-")))) << flavour;
    }
  });
}

TEST(Cleanup, KubeProxy1_20sChainsAreRemovedToo) {
  in_fresh_netns([] {
    std::string old = "*nat\n";
    for (const char* name : {"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-MARK-MASQ", "KUBE-MARK-DROP",
                             "KUBE-FW-67NZLRHBNDSAWJRO", "KUBE-XLB-67NZLRHBNDSAWJRO", "KUBE-SVC-67NZLRHBNDSAWJRO",
                             "KUBE-SEP-ZZ5QQVSVEYRRQLTX", "KUBE-SEP-YCI5FLUZZZWLO7SW", "KUBE-SEP-P26T2QUDWUGPDQ7W"}) {
      old += fmt::format(":{} - [0:0]\n", name);
    }
    old += read_file(testdata("kube_proxy_1_20.saved")) + "COMMIT\n" +
           "*filter\n:KUBE-SERVICES - [0:0]\n-A INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes "
           "service portals\" -j KUBE-SERVICES\nCOMMIT\n";
    for (const char* flavour : {"nft", "legacy"}) run({fmt::format("iptables-{}-restore", flavour), "--noflush"}, old);
    const Cleaned done = clean_up();
    ASSERT_THAT(done.problems, IsEmpty());
    for (const char* flavour : {"nft", "legacy"}) {
      EXPECT_THAT(lines_with(saved_lines(tool_for(Family::kIPv4, flavour)), "KUBE-"), IsEmpty()) << flavour;
    }
  });
}

TEST(Cleanup, KubeMarkDropIsKubeletsOnceItHasARule) {
  struct Row {
    const char* name;
    const char* before;
    bool goes;
  };
  for (const Row& row :
       {Row{"empty, as kube-proxy 1.20 makes it", "*nat\n:KUBE-MARK-DROP - [0:0]\nCOMMIT\n", true},
        Row{"filled", "*nat\n:KUBE-MARK-DROP - [0:0]\n-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000\nCOMMIT\n",
            false},
        Row{"kubelet is there",
            "*nat\n:KUBE-MARK-DROP - [0:0]\nCOMMIT\n*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n", false}}) {
    SCOPED_TRACE(row.name);
    in_fresh_netns([&] {
      const Tool tool = tool_for(Family::kIPv4, "nft");
      run({tool.restore, "--noflush"}, row.before);
      const Cleaned done = clean_up();
      ASSERT_THAT(done.problems, IsEmpty());
      EXPECT_EQ(lines_with(saved_lines(tool), "KUBE-MARK-DROP").empty(), row.goes);
    });
  }
}

TEST(Cleanup, TheFlavourThatServesIsSpared) {
  in_fresh_netns([] {
    for (const char* flavour : {"nft", "legacy"}) {
      run({fmt::format("iptables-{}-restore", flavour), "--noflush"},
          "*nat\n:KUBE-SERVICES - [0:0]\n:MINE - [0:0]\n-A OUTPUT -j KUBE-SERVICES\n-A OUTPUT -j MINE\nCOMMIT\n");
    }
    Node node;
    IptablesMechanism mechanism = node.mechanism("legacy");
    EXPECT_EQ(mechanism.flavour(), "");
    ASSERT_TRUE(mechanism.open({.family = Family::kIPv4, .detector = {}}));
    EXPECT_EQ(mechanism.flavour(), "legacy");
    const Cleaned done = clean_up(mechanism, std::array{Family::kIPv4});
    EXPECT_THAT(done.problems, IsEmpty());
    EXPECT_THAT(done.removed, ElementsAre("1 chain of iptables (IPv4)"));
    const std::vector<std::string> nft = saved_lines(tool_for(Family::kIPv4, "nft"));
    EXPECT_THAT(nft, Not(Contains(HasSubstr("KUBE-"))));
    EXPECT_THAT(nft, Contains("nat -A OUTPUT -j MINE"));
    EXPECT_THAT(saved_lines(tool_for(Family::kIPv4, "legacy")), Contains("nat -A OUTPUT -j KUBE-SERVICES"));
    EXPECT_TRUE(mechanism.leftovers(std::array{Family::kIPv4}).none());
    EXPECT_FALSE(mechanism.leftovers({}).none()) << "what served is left over once it serves no more";
  });
}

// A block of 800 chains at a time, so that the control loop continues in between; in any prefix no rule leads to a
// chain that is gone.
TEST(Cleanup, ManyChainsAreRemovedInPieces) {
  in_fresh_netns([] {
    std::string many = "*nat\n:KUBE-SERVICES - [0:0]\n";
    constexpr int kChains = 2000;
    for (int i = 0; i < kChains; ++i) many += fmt::format(":KUBE-SVC-{:016} - [0:0]\n", i);
    many += "-A OUTPUT -j KUBE-SERVICES\n-A KUBE-SERVICES -d 10.0.0.1/32 -j KUBE-SVC-0000000000000001\nCOMMIT\n";
    run({"iptables-nft-restore", "--noflush"}, many);
    Node node;
    IptablesMechanism mechanism = node.mechanism();
    Leftovers left = mechanism.leftovers({});
    EXPECT_EQ(left.objects.front().count, static_cast<std::size_t>(kChains + 1));
    std::size_t removed = 0;
    std::size_t pieces = 0;
    for (; !left.objects.empty(); ++pieces) {
      Removal removal = mechanism.remove(std::move(left));
      EXPECT_THAT(removal.problems, IsEmpty());
      for (const Objects& objects : removal.removed) {
        EXPECT_LE(objects.count, kNftChainsPerBlock);
        removed += objects.count;
      }
      left = std::move(removal.left);
    }
    EXPECT_EQ(removed, static_cast<std::size_t>(kChains + 1));
    EXPECT_EQ(pieces, 3u);
    EXPECT_TRUE(mechanism.leftovers({}).none());
  });
}

// Between the look and the removal another program was quicker.
TEST(Cleanup, WhatWasRemovedMeanwhileIsNoProblem) {
  in_fresh_netns([] {
    run({"iptables-nft-restore", "--noflush"}, "*nat\n:KUBE-SERVICES - [0:0]\n-A OUTPUT -j KUBE-SERVICES\nCOMMIT\n");
    Node node;
    IptablesMechanism mechanism = node.mechanism();
    Leftovers left = mechanism.leftovers({});
    run({"iptables-nft", "-t", "nat", "-F", "OUTPUT"});
    const Removal removal = remove_all(mechanism, std::move(left));
    EXPECT_THAT(removal.problems, IsEmpty());
    EXPECT_TRUE(mechanism.leftovers({}).none());
  });
}

// After mode iptables has written its own rules, nothing of mode ipvs is left, and the rules are those of a fresh
// start.
TEST(Cleanup, TheServingFlavourLosesWhatTheIpvsModeLeftAndNothingElse) {
  for (const char* flavour : {"nft", "legacy"}) {
    const auto serve = [flavour](const std::string& before) {
      std::vector<std::string> saved;
      in_fresh_netns([&] {
        const Tool tool = tool_for(Family::kIPv4, flavour);
        if (!before.empty()) run({tool.restore, "--noflush"}, before);
        auto data_plane =
            IptablesDataPlane::open({.detector = pods_in("10.0.0.0/8"), .flavour = flavour_named(flavour)});
        ASSERT_TRUE(data_plane) << data_plane.error().what;
        Changes changes;
        changes.full = true;
        changes.ports.push_back({nullptr, shared(worked_example())});
        const auto applied = (*data_plane)->apply(changes);
        ASSERT_TRUE(applied) << applied.error().what;
        const auto rules = open_rules(rules_of_mode_ipvs());
        Leftovers left = rules->leftovers();
        EXPECT_EQ(left.objects.empty() ? 0u : left.objects.front().count, before.empty() ? 0u : 7u);
        while (!left.objects.empty()) {
          Removal removal = rules->remove(std::move(left));
          EXPECT_THAT(removal.problems, IsEmpty());
          left = std::move(removal.left);
        }
        saved = sorted(saved_lines(tool));
      });
      return saved;
    };
    const std::vector<std::string> fresh = serve("");
    EXPECT_THAT(fresh, Contains(HasSubstr("KUBE-SVC-")));
    EXPECT_EQ(serve(ipvs_mode_rules()), fresh) << flavour;
  }
}

TEST(Cleanup, WithoutProgramsThereIsNothingToCleanUpOrAnError) {
  for (const bool rules : {false, true}) {
    in_fresh_netns([rules] {
      if (rules) run({"iptables-nft", "-t", "nat", "-N", "KUBE-SERVICES"});
      const std::string path = std::getenv("PATH");
      ::setenv("PATH", "/nonexistent", 1);
      Node node;
      IptablesMechanism mechanism = node.mechanism();
      const Leftovers left = mechanism.leftovers({});
      ::setenv("PATH", path.c_str(), 1);
      EXPECT_EQ(left.none(), !rules);
      if (rules) {
        EXPECT_THAT(left.problems, Contains(HasSubstr("install the package iptables")));
      }
    });
  }
}

TEST(Cleanup, AChainThatOthersUseStaysAndIsReported) {
  for (const char* flavour : {"nft", "legacy"}) {
    SCOPED_TRACE(flavour);
    in_fresh_netns([&] {
      const Tool tool = tool_for(Family::kIPv4, flavour);
      Options options;
      options.flavour = flavour_named(flavour);
      const auto plane = IptablesDataPlane::open(options);
      ASSERT_TRUE(plane) << plane.error().what;
      ASSERT_TRUE((*plane)->apply(some_services(Family::kIPv4)));
      run({tool.restore, "--noflush"}, "*nat\n:CNI-SETMARK - [0:0]\n-A CNI-SETMARK -j KUBE-MARK-MASQ\nCOMMIT\n");
      const Cleaned done = clean_up();
      EXPECT_THAT(done.problems, ElementsAre(HasSubstr("removal of nat chain KUBE-MARK-MASQ")));
      EXPECT_THAT(lines_with(saved_lines(tool), "KUBE-"),
                  ElementsAre("nat :KUBE-MARK-MASQ -", "nat -A CNI-SETMARK -j KUBE-MARK-MASQ",
                              "nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"));
    });
  }
}

// ---- route_localnet and its guard

std::string guard() {
  const auto lines = lines_with(saved_lines(tool_for(Family::kIPv4, "nft")), "block incoming localnet");
  return lines.empty() ? "" : lines.front();
}

std::unique_ptr<DataPlane> serve(IptablesMechanism& mechanism, bool localhost = true) {
  auto plane = mechanism.open({.family = Family::kIPv4, .detector = {}, .localhost_node_ports = localhost});
  EXPECT_TRUE(plane) << plane.error().what;
  const auto applied = (*plane)->apply(some_services(Family::kIPv4));
  EXPECT_TRUE(applied) << applied.error().what;
  return std::move(*plane);
}

TEST(RouteLocalnet, IsSetOnceTheGuardExistsAndRestoredBeforeItIsRemoved) {
  in_fresh_netns([] {
    Node node;
    std::vector<std::string> guards;  // at each write of the setting
    IptablesMechanism mechanism({.flavour = Flavour::kNft},
                                sys::SysctlJournal("",
                                                   {.read = node.sysctls.access().read,
                                                    .write =
                                                        [&](std::string_view name, std::string_view value) {
                                                          guards.push_back(guard());
                                                          return node.sysctls.access().write(name, value);
                                                        }},
                                                   node.sysctls.notes_access()),
                                node.sysctls.access());
    (void)mechanism.open({.family = Family::kIPv4, .detector = {}, .localhost_node_ports = true});
    EXPECT_EQ(node.sysctls.values[kRouteLocalnet], "0") << "opening writes nothing";
    serve(mechanism);
    EXPECT_EQ(node.sysctls.values[kRouteLocalnet], "1");
    const Cleaned done = clean_up(mechanism);
    EXPECT_THAT(done.problems, IsEmpty());
    EXPECT_THAT(done.removed, Contains(fmt::format("our value of {} (it is 0 again)", kRouteLocalnet)));
    EXPECT_EQ(node.sysctls.values[kRouteLocalnet], "0");
    EXPECT_EQ(guard(), "");
    EXPECT_THAT(guards, ElementsAre(Not(IsEmpty()), Not(IsEmpty())));
    EXPECT_TRUE(mechanism.leftovers({}).none());
  });
}

// As with --init-only: another process serves later, without permission to change settings.
TEST(RouteLocalnet, MayBePreparedWithItsGuardAndNothingElse) {
  in_fresh_netns([] {
    run({"iptables-nft-restore", "--noflush"},
        "*filter\n:KUBE-FIREWALL - [0:0]\n-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP\nCOMMIT\n");
    Node node;
    IptablesMechanism mechanism = node.mechanism("nft");
    for (int turn = 0; turn < 2; ++turn) {
      ASSERT_TRUE(mechanism.prepare_node({.family = Family::kIPv4, .detector = {}, .localhost_node_ports = true}));
      EXPECT_EQ(node.sysctls.values[kRouteLocalnet], "1");
      const auto lines = lines_with(saved_lines(tool_for(Family::kIPv4, "nft")), "KUBE-");
      EXPECT_EQ(lines.size(), 5u) << "the chain, kubelet's rule, ours, two jumps: " << testing::PrintToString(lines);
      EXPECT_NE(guard(), "");
    }
    ASSERT_TRUE(mechanism.prepare_node({.family = Family::kIPv6, .detector = {}}));
    EXPECT_THAT(lines_with(saved_lines(tool_for(Family::kIPv6, "nft")), "KUBE-"), IsEmpty());
  });
}

TEST(RouteLocalnet, TheGuardStaysIfTheSettingCannotBeRestored) {
  in_fresh_netns([] {
    Node node;
    IptablesMechanism mechanism = node.mechanism("nft");
    serve(mechanism);
    node.sysctls.read_only = true;
    const Cleaned done = clean_up(mechanism);
    EXPECT_THAT(done.problems, Contains(HasSubstr("KUBE-FIREWALL stays")));
    EXPECT_NE(guard(), "");
    EXPECT_THAT(saved_lines(tool_for(Family::kIPv4, "nft")), Contains("filter -A INPUT -j KUBE-FIREWALL"));
    EXPECT_FALSE(mechanism.leftovers({}).none());
    node.sysctls.read_only = false;
    EXPECT_THAT(clean_up(mechanism).problems, IsEmpty());
    EXPECT_EQ(guard(), "");
    EXPECT_TRUE(mechanism.leftovers({}).none());
  });
}

TEST(RouteLocalnet, OfAProcessThatWasKilledIsRestoredByTheNextOne) {
  in_fresh_netns([] {
    Node node;
    {
      IptablesMechanism mechanism = node.mechanism("nft");
      serve(mechanism);
    }
    // Killed after the guard was written and the setting recorded, before it was changed; and between both steps back.
    for (const char* value : {"1", "0"}) {
      SCOPED_TRACE(value);
      node.sysctls.values[kRouteLocalnet] = value;
      IptablesMechanism another = node.mechanism("nft");
      clean_up(another);
      EXPECT_EQ(node.sysctls.values[kRouteLocalnet], "0");
      EXPECT_EQ(guard(), "");
      serve(another);
    }
  });
}

TEST(RouteLocalnet, IsRestoredIfTheModeContinuesWithoutLocalhost) {
  in_fresh_netns([] {
    Node node;
    IptablesMechanism before = node.mechanism("nft");
    serve(before);
    IptablesMechanism now = node.mechanism("nft");
    serve(now, false);
    EXPECT_THAT(clean_up(now, std::array{Family::kIPv4}).problems, IsEmpty());
    EXPECT_EQ(node.sysctls.values[kRouteLocalnet], "0");
    serve(before);
    EXPECT_TRUE(before.leftovers(std::array{Family::kIPv4}).none()) << "what serves needs it";
    EXPECT_EQ(node.sysctls.values[kRouteLocalnet], "1");
  });
}

TEST(RouteLocalnet, TheAdministratorsOwnStays) {
  in_fresh_netns([] {
    Node node;
    node.sysctls.values[kRouteLocalnet] = "1";
    IptablesMechanism mechanism = node.mechanism("nft");
    serve(mechanism);
    EXPECT_THAT(clean_up(mechanism).problems, IsEmpty());
    EXPECT_EQ(node.sysctls.values[kRouteLocalnet], "1") << "it was there, without a guard, before us";
    EXPECT_EQ(guard(), "");
    EXPECT_TRUE(mechanism.leftovers({}).none());
  });
}

// kube-proxy keeps no record: with its guard and nothing recorded, the setting is its own.
TEST(RouteLocalnet, KubeProxysIsRestoredWithItsGuard) {
  for (const bool we_served : {false, true}) {
    SCOPED_TRACE(we_served);
    in_fresh_netns([&] {
      Node node;
      IptablesMechanism kube_proxy = node.mechanism("nft");
      serve(kube_proxy);
      node.sysctls.notes.clear();
      IptablesMechanism mechanism = node.mechanism("nft");
      if (we_served) serve(mechanism);
      const Cleaned done = clean_up(mechanism);
      EXPECT_THAT(done.problems, IsEmpty());
      EXPECT_THAT(done.removed, Contains(fmt::format("kube-proxy's value of {}", kRouteLocalnet)));
      EXPECT_EQ(node.sysctls.values[kRouteLocalnet], "0");
      EXPECT_EQ(guard(), "");
    });
  }
}

TEST(RouteLocalnet, KubeletsGuardAndSettingStay) {
  in_fresh_netns([] {
    run({"iptables-nft-restore", "--noflush"}, "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n");
    Node node;
    IptablesMechanism kubelet = node.mechanism("nft");
    serve(kubelet);
    node.sysctls.notes.clear();
    IptablesMechanism mechanism = node.mechanism("nft");
    serve(mechanism);
    EXPECT_THAT(clean_up(mechanism).problems, IsEmpty());
    EXPECT_NE(guard(), "");
    EXPECT_EQ(node.sysctls.values[kRouteLocalnet], "1");
  });
}

}  // namespace
}  // namespace sluice::dataplane::iptables
