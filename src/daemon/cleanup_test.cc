// SPDX-License-Identifier: Apache-2.0
#include "daemon/cleanup.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "daemon/data_planes.h"
#include "sys/process.h"
#include "sys/test_netns.h"

namespace sluice::daemon {
namespace {

std::string output_of(const char* command) {
  const auto outcome = sys::run_and_collect({"sh", "-c", command});
  return outcome ? outcome->output : outcome.error().what;
}

TEST(Cleanup, TakesEveryModesObjectsAndLeavesForeignOnes) {
  in_fresh_netns([] {
    ASSERT_EQ(
        std::system(
            "nft 'add table ip kube-proxy; add table ip6 kube-proxy; add table ip mine' && "
            "ipset create KUBE-CLUSTER-IP hash:ip,port && ipset create KUBE-6-CLUSTER-IP hash:ip,port family inet6 && "
            "ipset create mine hash:ip && ip link add kube-ipvs0 type bridge && ip link add mine0 type bridge && "
            "iptables -t nat -N KUBE-SERVICES && iptables -t nat -A OUTPUT -m comment --comment 'kubernetes service "
            "portals' -j KUBE-SERVICES && "
            "iptables -t nat -N MINE && iptables -t nat -A OUTPUT -j MINE"),
        0);
    const CleanupReport report = clean_up_everything(testing::TempDir() + "state");
    EXPECT_THAT(report.problems, testing::IsEmpty());
    EXPECT_THAT(report.removed, testing::Contains("1 chain of iptables (IPv4)"));
    const std::string tables = output_of("nft list tables");
    EXPECT_THAT(tables, testing::Not(testing::HasSubstr("kube-proxy")));
    EXPECT_THAT(tables, testing::HasSubstr("table ip mine"));
    EXPECT_EQ(output_of("ipset list -n"), "mine\n");
    EXPECT_THAT(output_of("ip -o link"), testing::Not(testing::HasSubstr("kube-ipvs0")));
    EXPECT_THAT(output_of("ip -o link"), testing::HasSubstr("mine0"));
    const std::string rules = output_of("iptables-save -t nat");
    EXPECT_THAT(rules, testing::Not(testing::HasSubstr("KUBE-")));
    EXPECT_THAT(rules, testing::HasSubstr("-A OUTPUT -j MINE"));
  });
}

// An operator who forces the other flavour, or a kubelet that was upgraded, leaves the rules of the first one in the
// way; kube-proxy's mode ipvs leaves its IP sets.
TEST(Cleanup, ModeIptablesTakesTheOtherFlavoursRulesAndIpSets) {
  in_fresh_netns([] {
    const std::string fill =
        "iptables-{0} -t nat -N KUBE-SERVICES && iptables-{0} -t nat -A OUTPUT -j KUBE-SERVICES && "
        "iptables-{0} -t nat -N MINE";
    for (const char* flavour : {"nft", "legacy"}) {
      ASSERT_EQ(std::system(fmt::format(fmt::runtime(fill), flavour).c_str()), 0);
    }
    ASSERT_EQ(std::system("ipset create KUBE-CLUSTER-IP hash:ip,port && ipset create mine hash:ip"), 0);
    const config::ProxyConfig config;
    config::SluiceConfig sluice;
    sluice.iptables.flavour = config::IptablesFlavour::kLegacy;
    const auto mode = Mode::of(config, sluice);
    ASSERT_TRUE(mode) << mode.error().what;
    const auto data_plane = (*mode)->make({});
    ASSERT_TRUE(data_plane) << data_plane.error().what;
    const CleanupReport report = (*mode)->remove_others();
    EXPECT_THAT(report.problems, testing::IsEmpty());
    EXPECT_THAT(report.removed, testing::ElementsAre("1 chain of iptables (IPv4)", "1 IP set"));
    EXPECT_EQ(output_of("ipset list -n"), "mine\n");
    EXPECT_THAT(output_of("iptables-nft-save"),
                testing::AllOf(testing::HasSubstr("MINE"), testing::Not(testing::HasSubstr("KUBE-"))));
    EXPECT_THAT(output_of("iptables-legacy-save"), testing::HasSubstr("-A OUTPUT -j KUBE-SERVICES"));
  });
}

TEST(Cleanup, ModeIptablesLooksForChainsOfModeIpvsWhereItsSetsAre) {
  for (const bool sets : {false, true}) {
    in_fresh_netns([sets] {
      ASSERT_EQ(std::system("iptables-nft -t nat -N KUBE-LOAD-BALANCER && iptables-nft -t nat -N KUBE-SERVICES"), 0);
      ASSERT_EQ(std::system(sets ? "ipset create KUBE-CLUSTER-IP hash:ip,port" : "true"), 0);
      const CleanupReport report = clean_up_beside_iptables({{Family::kIPv4, dataplane::iptables::Flavour::kNft}});
      EXPECT_THAT(report.problems, testing::IsEmpty());
      const std::string rules = output_of("iptables-nft-save -t nat");
      EXPECT_EQ(rules.find("KUBE-LOAD-BALANCER") == std::string::npos, sets) << rules;
      EXPECT_THAT(rules, testing::HasSubstr("KUBE-SERVICES"));
    });
  }
}

TEST(Cleanup, OfNothingSucceedsAndMakesNothing) {
  in_fresh_netns([] {
    const CleanupReport report = clean_up_everything(testing::TempDir() + "state");
    EXPECT_THAT(report.problems, testing::IsEmpty());
    EXPECT_THAT(report.removed, testing::IsEmpty());
    EXPECT_EQ(output_of("nft list ruleset"), "");
  });
}

}  // namespace
}  // namespace sluice::daemon
