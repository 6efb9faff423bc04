// SPDX-License-Identifier: Apache-2.0
#include "daemon/cleanup.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "daemon/commands.h"
#include "daemon/kernel_settings.h"
#include "dataplane/fake_mechanism.h"
#include "sys/node_notes.h"
#include "sys/process.h"
#include "sys/state_folder.h"
#include "sys/test_netns.h"

namespace sluice::daemon {
namespace {

using dataplane::FakeMechanism;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string output_of(const std::string& command) {
  const auto outcome = sys::run_and_collect({"sh", "-c", command});
  return outcome ? outcome->output : outcome.error().what;
}

class CleanupTest : public testing::Test {
 protected:
  CleanupTest() {
    char name[] = "/tmp/sluice-cleanup-XXXXXX";
    sluice_.data_dir = ::mkdtemp(name);
  }
  ~CleanupTest() override { std::filesystem::remove_all(sluice_.data_dir); }
  config::SluiceConfig sluice_;
};

TEST_F(CleanupTest, RemovesEveryModesObjectsAndLeavesForeignOnes) {
  in_fresh_netns([this] {
    ASSERT_EQ(
        std::system(
            "nft 'add table ip kube-proxy; add table ip6 kube-proxy; add table ip mine' && "
            "ipset create KUBE-CLUSTER-IP hash:ip,port && ipset create KUBE-6-CLUSTER-IP hash:ip,port family inet6 && "
            "ipset create mine hash:ip && ip link add kube-ipvs0 type bridge && ip link add mine0 type bridge && "
            "iptables -t nat -N KUBE-SERVICES && iptables -t nat -A OUTPUT -m comment --comment 'kubernetes service "
            "portals' -j KUBE-SERVICES && "
            "iptables -t nat -N KUBE-LOAD-BALANCER && "
            "iptables -t nat -A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-LOAD-BALANCER && "
            "iptables -t nat -N MINE && iptables -t nat -A OUTPUT -j MINE"),
        0);
    const CleanupReport report = clean_up_everything(sluice_);
    EXPECT_THAT(report.problems, IsEmpty());
    EXPECT_THAT(report.left, IsEmpty());
    EXPECT_THAT(report.removed, ElementsAre("the device kube-ipvs0", "1 chain of iptables (IPv4)", "2 IP sets",
                                            "1 chain of iptables (IPv4)", "the nftables table ip6 kube-proxy",
                                            "the nftables table ip kube-proxy"));
    const std::string tables = output_of("nft list tables");
    EXPECT_THAT(tables, Not(HasSubstr("kube-proxy")));
    EXPECT_THAT(tables, HasSubstr("table ip mine"));
    EXPECT_EQ(output_of("ipset list -n"), "mine\n");
    EXPECT_THAT(output_of("ip -o link"), Not(HasSubstr("kube-ipvs0")));
    EXPECT_THAT(output_of("ip -o link"), HasSubstr("mine0"));
    const std::string rules = output_of("iptables-save -t nat");
    EXPECT_THAT(rules, Not(HasSubstr("KUBE-")));
    EXPECT_THAT(rules, HasSubstr("-A OUTPUT -j MINE"));
  });
}

TEST_F(CleanupTest, OfNothingSucceedsAndCreatesNothing) {
  in_fresh_netns([this] {
    const CleanupReport report = clean_up_everything(sluice_);
    EXPECT_THAT(report.problems, IsEmpty());
    EXPECT_THAT(report.left, IsEmpty());
    EXPECT_THAT(report.removed, IsEmpty());
    EXPECT_EQ(output_of("nft list ruleset"), "");
    EXPECT_TRUE(std::filesystem::is_empty(sluice_.data_dir));
  });
}

// The final report is the result of a second look.
TEST_F(CleanupTest, WhatStaysIsNamed) {
  auto mechanism = std::make_unique<FakeMechanism>("fake");
  mechanism->objects = {"a", "b"};
  mechanism->refused["b"] = "in use";
  mechanism->unsure = {"c may be ours"};
  Mechanisms mechanisms;
  mechanisms.push_back(std::move(mechanism));
  CleanupReport report;
  clean_up_modes(mechanisms, report);
  EXPECT_THAT(report.removed, ElementsAre("1 object"));
  EXPECT_THAT(report.problems, ElementsAre("b: in use"));
  EXPECT_THAT(report.left, ElementsAre("1 object", "c may be ours"));
}

TEST_F(CleanupTest, TheFirstLookCountsWhatNoRecordExplains) {
  auto mechanism = std::make_unique<FakeMechanism>("fake");
  mechanism->unrecognised = 2;
  Mechanisms mechanisms;
  mechanisms.push_back(std::move(mechanism));
  CleanupReport report;
  clean_up_modes(mechanisms, report);
  EXPECT_THAT(report.unrecognised, ElementsAre("2 objects"));
  EXPECT_THAT(report.left, IsEmpty());
  EXPECT_THAT(last_line(report), HasSubstr("no record of whose these are: 2 objects"));
  EXPECT_EQ(last_line({}), "nothing of Sluice or kube-proxy is left");
}

TEST_F(CleanupTest, WhatCouldNotBeLookedAtIsAProblem) {
  auto mechanism = std::make_unique<FakeMechanism>("fake");
  mechanism->problems = {"ip_vs cannot be asked"};
  Mechanisms mechanisms;
  mechanisms.push_back(std::move(mechanism));
  CleanupReport report;
  clean_up_modes(mechanisms, report);
  EXPECT_THAT(report.problems, ElementsAre("ip_vs cannot be asked"));
}

// A proxy ran with its own data folder, which the cleanup does not get.
TEST_F(CleanupTest, TheDataFolderIsKnownToTheKernel) {
  in_fresh_netns([this] {
    const std::string folder = sys::state_folder(sluice_.data_dir);
    std::filesystem::create_directories(folder + "/manifests");
    ASSERT_TRUE(sys::note_state_folder(folder));
    config::SluiceConfig other;
    other.data_dir = sluice_.data_dir + "/none";
    const CleanupReport report = clean_up_everything(other);
    EXPECT_THAT(report.left, IsEmpty());
    EXPECT_FALSE(std::filesystem::exists(folder));
    EXPECT_EQ(output_of("nft list ruleset"), "");
  });
}

TEST_F(CleanupTest, SettingsOfConnectionTrackingAreRestoredAlsoWithTheFolderLost) {
  for (const bool lost : {false, true}) {
    SCOPED_TRACE(lost);
    in_fresh_netns([&] {
      const char* name = "net/netfilter/nf_conntrack_tcp_be_liberal";
      const std::string before = output_of("cat /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal");
      ASSERT_EQ(before, "0\n");
      (void)open_journal(sluice_).apply(kConntrackOwner, {{name, "1"}});
      EXPECT_EQ(output_of("cat /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"), "1\n");
      if (lost) std::filesystem::remove_all(sys::state_folder(sluice_.data_dir));
      const CleanupReport report = clean_up_everything(sluice_);
      EXPECT_THAT(report.removed, ElementsAre(fmt::format("our value of {} (it is 0 again)", name)));
      EXPECT_THAT(report.left, IsEmpty());
      EXPECT_EQ(output_of("cat /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"), before);
      EXPECT_FALSE(std::filesystem::exists(sys::state_folder(sluice_.data_dir)));
    });
  }
}

TEST_F(CleanupTest, TheCommandTakesTheDataFolderAndTheConfiguration) {
  in_fresh_netns([this] {
    const std::string folder = sys::state_folder(sluice_.data_dir);
    const std::string file = sluice_.data_dir + "/config.yaml";
    std::ofstream(file) << "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n---\n"
                        << "apiVersion: sluice.dev/v1alpha1\nkind: SluiceConfiguration\ndataDir: " << sluice_.data_dir
                        << "\n";
    const std::vector<std::vector<std::string>> forms{{"--data-dir", sluice_.data_dir},
                                                      {"--data-dir=" + sluice_.data_dir},
                                                      {"--config", file},
                                                      {"--config=" + file, "--data-dir=" + sluice_.data_dir}};
    for (const auto& form : forms) {
      SCOPED_TRACE(form.front());
      std::filesystem::create_directories(folder);
      EXPECT_EQ(run_cleanup(form), 0);
      EXPECT_FALSE(std::filesystem::exists(folder));
      std::filesystem::create_directories(folder);
      std::vector<std::string> proxy{"--cleanup"};
      proxy.insert(proxy.end(), form.begin(), form.end());
      EXPECT_EQ(run_proxy(proxy), 0);
      EXPECT_FALSE(std::filesystem::exists(folder));
    }
    EXPECT_EQ(run_cleanup(std::vector<std::string>{"--data-dir"}), 2);
    EXPECT_EQ(run_cleanup(std::vector<std::string>{"x"}), 2);
    EXPECT_EQ(run_cleanup(std::vector<std::string>{"--data-dir=relative"}), 1);
  });
}

}  // namespace
}  // namespace sluice::daemon
