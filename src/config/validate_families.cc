// SPDX-License-Identifier: Apache-2.0
// A cluster CIDR of IPv6 on a node that only has IPv4 is well-formed but wrong: every pod would be taken for an
// outsider. kube-proxy checks for such contradictions after it knows the node's families. It logs most of them and
// continues, because old clusters run with them; it exits only in two cases that were always errors. Which is which is
// copied with care: a proxy that exits where kube-proxy continues is not a drop-in. Facts: checkBadConfig and
// checkBadIPConfig in cmd/kube-proxy/app/server.go of 1.36.
#include "config/validate_families.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/detect.h"

namespace sluice::config {
namespace {

struct Families {
  std::size_t ipv4 = 0;
  std::size_t ipv6 = 0;
  [[nodiscard]] bool both() const { return ipv4 > 0 && ipv6 > 0; }
  [[nodiscard]] std::size_t of_family(Family family) const { return family == Family::kIPv4 ? ipv4 : ipv6; }
};

Families count(const std::vector<std::string>& cidrs) {
  Families families;
  for (const std::string& text : cidrs) {
    if (const std::optional<Cidr> cidr = Cidr::parse(text))
      ++(cidr->family() == Family::kIPv4 ? families.ipv4 : families.ipv6);
  }
  return families;
}

std::vector<std::string> texts_of(const std::vector<Cidr>& cidrs) {
  std::vector<std::string> texts;
  texts.reserve(cidrs.size());
  for (const Cidr& cidr : cidrs) texts.push_back(cidr.to_string());
  return texts;
}

// Whether there is something, and all of it is of `family`.
bool only(const std::vector<std::string>& cidrs, Family family) {
  return !cidrs.empty() && count(cidrs).of_family(family) == cidrs.size();
}

bool listens_on(const std::string& address, Family family) {
  const std::optional<HostPort> parts = split_host_port(address);
  const std::optional<IpAddress> ip = parts ? IpAddress::parse(parts->host) : std::nullopt;
  return ip && ip->family() == family && !ip->is_unspecified();
}

}  // namespace

std::string Findings::fatal_text() const {
  return "kube-proxy configuration is incorrect: " + aggregate(problems);
}

Findings check_node_ports(const ProxyConfig& config, const ClusterFacts& facts) {
  Findings findings;
  const std::vector<std::string>& cidrs = facts.node_port_cidrs;
  if (cidrs.empty()) {
    // kube-proxy calls its own default a problem.
    findings.notes.emplace_back(
        "nodePortAddresses is unset; NodePort connections will be accepted on all local IPs. Consider using "
        "`--nodeport-addresses primary`");
    return findings;
  }
  const bool any_dual_stack = count(cluster_cidrs(config)).both() || count(cidrs).both() ||
                              count(items(config.ipvs.exclude_cidrs)).both() || count(texts_of(facts.pod_cidrs)).both();
  const Family other = other_family(facts.primary);
  if (any_dual_stack && count(cidrs).of_family(facts.primary) == cidrs.size()) {
    findings.problems.push_back(
        fmt::format("cluster appears to be dual-stack but nodePortAddresses contains only {} addresses; NodePort "
                    "connections will be "
                    "accepted on all local {} IPs",
                    to_string(facts.primary), to_string(other)));
  } else if (count(cidrs).of_family(facts.primary) == 0) {
    findings.problems.push_back(
        fmt::format("cluster appears to be {0}-primary but nodePortAddresses contains only {1} addresses; NodePort "
                    "connections will be "
                    "accepted on all local {0} IPs",
                    to_string(facts.primary), to_string(other)));
  }
  return findings;
}

Findings check_families(const ProxyConfig& config, const ClusterFacts& facts) {
  Findings findings;
  const Family bad = other_family(facts.primary);
  const std::string cluster =
      fmt::format("cluster is {}-{}", to_string(facts.primary), facts.dual_stack ? "primary" : "only");
  const auto tell_cidrs = [&](std::string_view what, const std::vector<std::string>& cidrs) {
    if (!only(cidrs, bad)) return false;
    findings.problems.push_back(fmt::format("{} but {} contains only {} addresses", cluster, what, to_string(bad)));
    return true;
  };
  const auto tell_address = [&](std::string_view what, const std::string& address) {
    if (listens_on(address, bad))
      findings.problems.push_back(fmt::format("{} but {} is {}", cluster, what, to_string(bad)));
  };
  if (tell_cidrs("clusterCIDRs", cluster_cidrs(config)) && detect_local_mode(config) == DetectLocalMode::kClusterCidr &&
      !facts.dual_stack) {
    findings.fatal = true;
  }
  if (tell_cidrs("node.spec.podCIDRs", texts_of(facts.pod_cidrs)) &&
      detect_local_mode(config) == DetectLocalMode::kNodeCidr) {
    findings.fatal = true;
  }
  if (facts.dual_stack) return findings;  // with both families present the rest is no contradiction
  tell_cidrs("ipvs.excludeCIDRs", items(config.ipvs.exclude_cidrs));
  tell_address("healthzBindAddress", config.healthz_bind_address);
  tell_address("metricsBindAddress", config.metrics_bind_address);
  return findings;
}

}  // namespace sluice::config
