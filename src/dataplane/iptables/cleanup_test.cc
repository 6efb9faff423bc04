// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cstdlib>

#include "dataplane/iptables/iptables_data_plane.h"
#include "dataplane/iptables/test_netns.h"
#include "dataplane/iptables/test_plans.h"

namespace sluice::dataplane::iptables {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// What others had there before: all three tables exist, with rules in the kernel's chains and chains of their own.
constexpr const char* kForeign =
    "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\n-A PREROUTING -j MARK --set-xmark 0x1/0x1\nCOMMIT\n"
    "*filter\n:KUBE-FIREWALL - [0:0]\n:MINE - [0:0]\n-A INPUT -j KUBE-FIREWALL\n-A OUTPUT -j KUBE-FIREWALL\n-A FORWARD "
    "-j MINE\n"
    "-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP\n-A MINE -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT\n"
    "*nat\n:KUBE-MARK-DROP - [0:0]\n:CNI-X - [0:0]\n-A POSTROUTING -j CNI-X\n-A KUBE-MARK-DROP -j MARK --set-xmark "
    "0x8000/0x8000\nCOMMIT\n";

Changes some_services(Family family) {
  Changes changes;
  changes.full = true;
  if (family == Family::kIPv4) {
    changes.ports.push_back({nullptr, shared(worked_example())});
    changes.ports.push_back({nullptr, shared(cluster_ip_port("ns", "empty", "p", "172.30.0.9"))});
  } else {
    plan::ServicePortPlan port = cluster_ip_port("ns", "six", "p", "fd00::1");
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
        options.flavour = to_string(tool.flavour);
        options.localhost_node_ports =
            false;  // the martian rule would stay in kubelet's chain, as it does after kube-proxy
        const auto plane = IptablesDataPlane::open(options);
        ASSERT_TRUE(plane) << plane.error().what;
        const auto applied = (*plane)->apply(some_services(family));
        ASSERT_TRUE(applied) << applied.error().what;
        EXPECT_NE(saved_lines(tool), before.back());
      }
      ASSERT_EQ(before.size(), 2u);
      const auto done = cleanup_iptables(family);
      ASSERT_TRUE(done) << done.error().what;
      EXPECT_EQ(saved_lines(tool_for(family, "nft")), before[0]);
      EXPECT_EQ(saved_lines(tool_for(family, "legacy")), before[1]);
      EXPECT_TRUE(cleanup_iptables(family)) << "again, with nothing to do";
    });
  }
}

TEST(Cleanup, CreatesNothingWhereThereIsNothing) {
  in_fresh_netns([] {
    const auto done = cleanup_iptables(Family::kIPv4);
    ASSERT_TRUE(done) << done.error().what;
    EXPECT_THAT(saved_lines(tool_for(Family::kIPv4, "nft")), IsEmpty());
    EXPECT_THAT(saved_lines(tool_for(Family::kIPv4, "legacy")), IsEmpty());
  });
}

TEST(Cleanup, KubeFirewallGoesOnlyWhereItIsOursAlone) {
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
      options.flavour = "nft";
      const auto plane = IptablesDataPlane::open(options);
      ASSERT_TRUE(plane) << plane.error().what;
      ASSERT_TRUE((*plane)->apply(some_services(Family::kIPv4)));
      EXPECT_THAT(saved_lines(tool), Contains(HasSubstr("block incoming localnet")));
      const auto done = cleanup_iptables(Family::kIPv4);
      ASSERT_TRUE(done) << done.error().what;
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

TEST(Cleanup, ChainsOfTheIpvsModeGoToo) {
  in_fresh_netns([] {
    for (const char* flavour : {"nft", "legacy"})
      run({fmt::format("iptables-{}-restore", flavour), "--noflush"}, ipvs_mode_rules());
    const auto done = cleanup_iptables(Family::kIPv4);
    ASSERT_TRUE(done) << done.error().what;
    for (const char* flavour : {"nft", "legacy"}) {
      EXPECT_THAT(saved_lines(tool_for(Family::kIPv4, flavour)), Not(Contains(HasSubstr("KUBE-")))) << flavour;
    }
  });
}

TEST(Cleanup, KubeProxy1_20sChainsGoToo) {
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
    const auto done = cleanup_iptables(Family::kIPv4);
    ASSERT_TRUE(done) << done.error().what;
    for (const char* flavour : {"nft", "legacy"}) {
      EXPECT_THAT(lines_with(saved_lines(tool_for(Family::kIPv4, flavour)), "KUBE-"), IsEmpty()) << flavour;
    }
  });
}

TEST(Cleanup, KubeMarkDropIsKubeletsOnceSomethingIsInIt) {
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
      const auto done = cleanup_iptables(Family::kIPv4);
      ASSERT_TRUE(done) << done.error().what;
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
    const auto done = cleanup_iptables(Family::kIPv4, Serving{Flavour::kLegacy, true});
    ASSERT_TRUE(done) << done.error().what;
    EXPECT_EQ(*done, 1u);
    const std::vector<std::string> nft = saved_lines(tool_for(Family::kIPv4, "nft"));
    EXPECT_THAT(nft, Not(Contains(HasSubstr("KUBE-"))));
    EXPECT_THAT(nft, Contains("nat -A OUTPUT -j MINE"));
    EXPECT_THAT(saved_lines(tool_for(Family::kIPv4, "legacy")), Contains("nat -A OUTPUT -j KUBE-SERVICES"));
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
        auto data_plane = IptablesDataPlane::open({.masquerade = {}, .flavour = flavour});
        ASSERT_TRUE(data_plane) << data_plane.error().what;
        Changes changes;
        changes.full = true;
        changes.ports.push_back({nullptr, std::make_shared<plan::ServicePortPlan>(worked_example())});
        const auto applied = (*data_plane)->apply(changes);
        ASSERT_TRUE(applied) << applied.error().what;
        const auto done = cleanup_iptables(Family::kIPv4, Serving{tool.flavour, true});
        ASSERT_TRUE(done) << done.error().what;
        EXPECT_EQ(*done, before.empty() ? 0u : 7u);
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
      const auto done = cleanup_iptables(Family::kIPv4);
      ::setenv("PATH", path.c_str(), 1);
      EXPECT_EQ(static_cast<bool>(done), !rules);
      if (!done) {
        EXPECT_THAT(done.error().what, HasSubstr("install the package iptables"));
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
      options.flavour = flavour;
      const auto plane = IptablesDataPlane::open(options);
      ASSERT_TRUE(plane) << plane.error().what;
      ASSERT_TRUE((*plane)->apply(some_services(Family::kIPv4)));
      run({tool.restore, "--noflush"}, "*nat\n:CNI-SETMARK - [0:0]\n-A CNI-SETMARK -j KUBE-MARK-MASQ\nCOMMIT\n");
      const auto done = cleanup_iptables(Family::kIPv4);
      ASSERT_FALSE(done);
      EXPECT_THAT(done.error().what, HasSubstr("removal of nat chain KUBE-MARK-MASQ"));
      EXPECT_THAT(lines_with(saved_lines(tool), "KUBE-"),
                  testing::ElementsAre("nat :KUBE-MARK-MASQ -", "nat -A CNI-SETMARK -j KUBE-MARK-MASQ",
                                       "nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000"));
    });
  }
}

}  // namespace
}  // namespace sluice::dataplane::iptables
