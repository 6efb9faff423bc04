// SPDX-License-Identifier: Apache-2.0
// The names are kube-proxy's own (pkg/proxy/ipvs/ipset.go and proxier.go). For IPv6 "KUBE-" becomes "KUBE-6-", and the
// whole is cut to the 31 characters that an IP set's name may have.
#include "dataplane/ipvs/kube_proxy_names.h"

#include <fmt/format.h>

#include <array>
#include <string_view>

namespace sluice::dataplane::ipvs {
namespace {

constexpr std::array<std::string_view, 18> kIpSets{"KUBE-LOOP-BACK",
                                                   "KUBE-CLUSTER-IP",
                                                   "KUBE-EXTERNAL-IP",
                                                   "KUBE-EXTERNAL-IP-LOCAL",
                                                   "KUBE-LOAD-BALANCER",
                                                   "KUBE-LOAD-BALANCER-LOCAL",
                                                   "KUBE-LOAD-BALANCER-FW",
                                                   "KUBE-LOAD-BALANCER-SOURCE-CIDR",
                                                   "KUBE-LOAD-BALANCER-SOURCE-IP",
                                                   "KUBE-NODE-PORT-TCP",
                                                   "KUBE-NODE-PORT-LOCAL-TCP",
                                                   "KUBE-NODE-PORT-UDP",
                                                   "KUBE-NODE-PORT-LOCAL-UDP",
                                                   "KUBE-NODE-PORT-SCTP-HASH",
                                                   "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
                                                   "KUBE-HEALTH-CHECK-NODE-PORT",
                                                   "KUBE-IPVS-IPS",
                                                   "KUBE-LOAD-BALANCER-MASQ"};
constexpr std::size_t kIpSetNameMax = 31;

std::string name_of(std::string_view name, Family family) {
  if (family == Family::kIPv4) return std::string(name);
  return fmt::format("KUBE-6-{}", name.substr(std::string_view("KUBE-").size())).substr(0, kIpSetNameMax);
}

}  // namespace

std::vector<std::string> kube_proxys_ip_sets() {
  std::vector<std::string> names;
  for (const std::string_view name : kIpSets) {
    for (const Family family : kFamilies) names.push_back(name_of(name, family));
  }
  return names;
}

OwnedRules kube_proxys_rules() {
  OwnedRules owned;
  owned.chains = {
      {"nat", "KUBE-LOAD-BALANCER"},  {"nat", "KUBE-NODE-PORT"},
      {"nat", "KUBE-FIREWALL"},  // before 1.25; kubelet's is in filter
      {"filter", "KUBE-NODE-PORT"},   {"filter", "KUBE-SOURCE-RANGES-FIREWALL"},
      {"filter", "KUBE-IPVS-FILTER"}, {"filter", "KUBE-IPVS-OUT-FILTER"},
  };
  for (std::string& name : kube_proxys_ip_sets()) owned.ip_sets.insert(std::move(name));
  // The jump into a chain that mode iptables also has, but enters by other rules.
  owned.comments = {"kube-proxy firewall rules"};
  return owned;
}

const std::vector<NodePortSet>& kube_proxys_node_port_sets() {
  static const std::vector<NodePortSet> sets{
      {"KUBE-NODE-PORT-TCP", Protocol::kTcp},        {"KUBE-NODE-PORT-UDP", Protocol::kUdp},
      {"KUBE-NODE-PORT-SCTP-HASH", Protocol::kSctp}, {"KUBE-6-NODE-PORT-TCP", Protocol::kTcp},
      {"KUBE-6-NODE-PORT-UDP", Protocol::kUdp},      {"KUBE-6-NODE-PORT-SCTP-HASH", Protocol::kSctp},
  };
  return sets;
}

}  // namespace sluice::dataplane::ipvs
