// SPDX-License-Identifier: Apache-2.0
#include "config/validate_families.h"

#include <gmock/gmock.h>

#include "config/detect.h"

namespace sluice::config {
namespace {

using Texts = std::vector<std::string>;
constexpr Family k4 = Family::kIPv4;
constexpr Family k6 = Family::kIPv6;

std::vector<Cidr> cidrs_of(const Texts& texts) {
  std::vector<Cidr> cidrs;
  for (const std::string& text : texts) cidrs.push_back(Cidr::parse(text).value());
  return cidrs;
}

// Upstream: Test_checkBadConfig.
TEST(NodePorts, SurprisingReachIsReported) {
  struct Row {
    std::string name;
    std::string cluster_cidr;
    Texts node_port_cidrs;
    Texts exclude_cidrs;
    Texts pod_cidrs;
    Family primary;
    Texts wanted;
  };
  const std::string unset =
      "nodePortAddresses is unset; NodePort connections will be accepted on all local IPs. Consider using "
      "`--nodeport-addresses primary`";
  const auto dual = [](const std::string& one, const std::string& other) {
    return "cluster appears to be dual-stack but nodePortAddresses contains only " + one +
           " addresses; NodePort connections will be accepted on all local " + other + " IPs";
  };
  const Row rows[] = {
      {"single stack, matching", "10.0.0.0/8", {"192.168.0.0/24"}, {}, {}, k4, {}},
      {"dual stack, both", "10.0.0.0/8,fd00::/48", {"192.168.0.0/24", "fd01::/64"}, {}, {}, k4, {}},
      {"unset", "10.0.0.0/8", {}, {}, {}, k4, {}},
      {"dual stack by cluster CIDR", "10.0.0.0/8,fd00::/48", {"192.168.0.0/24"}, {}, {}, k4, {dual("IPv4", "IPv6")}},
      {"dual stack by excluded CIDRs", "", {"fd01::/64"}, {"10.0.0.0/8", "fd00::/48"}, {}, k6, {dual("IPv6", "IPv4")}},
      {"dual stack by pod CIDRs", "", {"192.168.0.0/24"}, {}, {"10.0.0.0/24", "fd00::/64"}, k4, {dual("IPv4", "IPv6")}},
      {"only the other family",
       "fd00::/48",
       {"192.168.0.0/24"},
       {},
       {},
       k6,
       {"cluster appears to be IPv6-primary but nodePortAddresses contains only IPv4 addresses; NodePort connections "
        "will be accepted "
        "on all local IPv6 IPs"}},
  };
  for (const Row& row : rows) {
    ProxyConfig config = default_config();
    config.cluster_cidr = row.cluster_cidr;
    config.ipvs.exclude_cidrs = row.exclude_cidrs;
    const ClusterFacts facts{row.primary, true, cidrs_of(row.pod_cidrs), row.node_port_cidrs};
    const Findings findings = check_node_ports(config, facts);
    EXPECT_EQ(findings.problems, row.wanted) << row.name;
    EXPECT_EQ(findings.notes, row.node_port_cidrs.empty() ? Texts{unset} : Texts{}) << row.name;
    EXPECT_FALSE(findings.fatal) << row.name;
  }
}

// Upstream: Test_checkBadIPConfig.
TEST(FamilyMismatch, IsFatalOnlyWherePodsCannotBeRecognised) {
  struct Row {
    std::string name;
    std::function<void(ProxyConfig&)> change;
    Texts pod_cidrs;
    Family primary;
    // Wanted with the other family unsupported, and supported.
    std::vector<std::string> single;
    bool single_fatal;
    std::vector<std::string> dual;
    bool dual_fatal;
  };
  const auto mode = [](const std::string& detect, const std::string& cidr) {
    return [detect, cidr](ProxyConfig& c) { c.detect_local_mode = detect, c.cluster_cidr = cidr; };
  };
  const Row rows[] = {
      {"nothing to mismatch", [](ProxyConfig&) {}, {}, k4, {}, false, {}, false},
      {"cluster CIDR fits", mode("ClusterCIDR", "10.0.0.0/8"), {}, k4, {}, false, {}, false},
      {"cluster CIDRs of both", mode("ClusterCIDR", "fd00::/48,10.0.0.0/8"), {}, k4, {}, false, {}, false},
      {"cluster CIDR of the other, IPv4",
       mode("ClusterCIDR", "fd00::/48"),
       {},
       k4,
       {"cluster is IPv4-only but clusterCIDRs contains only IPv6 addresses"},
       true,
       {"cluster is IPv4-primary but clusterCIDRs contains only IPv6 addresses"},
       false},
      {"cluster CIDR of the other, IPv6",
       mode("ClusterCIDR", "10.0.0.0/8"),
       {},
       k6,
       {"cluster is IPv6-only but clusterCIDRs contains only IPv4 addresses"},
       true,
       {"cluster is IPv6-primary but clusterCIDRs contains only IPv4 addresses"},
       false},
      {"cluster CIDR of the other, not used",
       mode("BridgeInterface", "fd00::/48"),
       {},
       k4,
       {"cluster is IPv4-only but clusterCIDRs contains only IPv6 addresses"},
       false,
       {"cluster is IPv4-primary but clusterCIDRs contains only IPv6 addresses"},
       false},
      {"pod CIDRs fit", mode("NodeCIDR", ""), {"10.0.0.0/24"}, k4, {}, false, {}, false},
      {"pod CIDRs of both", mode("NodeCIDR", ""), {"fd00::/64", "10.0.0.0/24"}, k4, {}, false, {}, false},
      {"pod CIDRs of the other",
       mode("NodeCIDR", ""),
       {"fd00::/64"},
       k4,
       {"cluster is IPv4-only but node.spec.podCIDRs contains only IPv6 addresses"},
       true,
       {"cluster is IPv4-primary but node.spec.podCIDRs contains only IPv6 addresses"},
       true},
      {"pod CIDRs of the other, not used",
       mode("ClusterCIDR", ""),
       {"10.0.0.0/24"},
       k6,
       {"cluster is IPv6-only but node.spec.podCIDRs contains only IPv4 addresses"},
       false,
       {"cluster is IPv6-primary but node.spec.podCIDRs contains only IPv4 addresses"},
       false},
      {"excluded CIDRs of the other",
       [](ProxyConfig& c) { c.ipvs.exclude_cidrs = std::vector<std::string>{"fd00::/48"}; },
       {},
       k4,
       {"cluster is IPv4-only but ipvs.excludeCIDRs contains only IPv6 addresses"},
       false,
       {},
       false},
      {"excluded CIDRs of both",
       [](ProxyConfig& c) { c.ipvs.exclude_cidrs = std::vector<std::string>{"fd00::/48", "10.0.0.0/8"}; },
       {},
       k4,
       {},
       false,
       {},
       false},
      {"healthz of the other",
       [](ProxyConfig& c) { c.healthz_bind_address = "[fd00::1]:10256"; },
       {},
       k4,
       {"cluster is IPv4-only but healthzBindAddress is IPv6"},
       false,
       {},
       false},
      {"metrics of the other",
       [](ProxyConfig& c) { c.metrics_bind_address = "127.0.0.1:10249"; },
       {},
       k6,
       {"cluster is IPv6-only but metricsBindAddress is IPv4"},
       false,
       {},
       false},
      {"unspecified addresses of the other",
       [](ProxyConfig& c) { c.healthz_bind_address = "0.0.0.0:10256", c.metrics_bind_address = "0.0.0.0:10249"; },
       {},
       k6,
       {},
       false,
       {},
       false},
  };
  for (const Row& row : rows) {
    ProxyConfig config;
    row.change(config);
    const Findings single = check_families(config, {row.primary, false, cidrs_of(row.pod_cidrs), {}});
    EXPECT_EQ(single.problems, row.single) << row.name;
    EXPECT_EQ(single.fatal, row.single_fatal) << row.name;
    const Findings dual = check_families(config, {row.primary, true, cidrs_of(row.pod_cidrs), {}});
    EXPECT_EQ(dual.problems, row.dual) << row.name;
    EXPECT_EQ(dual.fatal, row.dual_fatal) << row.name;
  }
}

TEST(FamilyMismatch, FatalTextHasKubeProxysPrefix) {
  EXPECT_EQ((Findings{{"a", "b"}, true}.fatal_text()), "kube-proxy configuration is incorrect: [a, b]");
}

}  // namespace
}  // namespace sluice::config
