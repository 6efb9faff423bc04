// SPDX-License-Identifier: Apache-2.0
// A proxy must know its own node: which EndpointSlice endpoints are local (by the node's name), which address
// represents the node, which packets come from pods of this node, and on which addresses node ports are served. All of
// it can be configured, and most clusters configure half of it: a ClusterCIDR of one family in a dual-stack cluster, a
// bindAddress that only means "IPv6 please". What is not configured comes from the Node object, and without one, from a
// guess that is logged. Facts: kube-proxy 1.36, cmd/kube-proxy/app/server.go and
// pkg/proxy/util/nodeport_addresses.go.
#include "config/detect.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::config {
namespace {

IpAddress loopback(Family family) {
  return *IpAddress::parse(family == Family::kIPv4 ? "127.0.0.1" : "::1");
}

std::vector<Cidr> parse_family(const std::vector<std::string>& texts, Family family) {
  std::vector<Cidr> cidrs;
  for (const std::string& text : texts) {
    const std::optional<Cidr> cidr = Cidr::parse(text);
    if (cidr && cidr->family() == family) cidrs.push_back(*cidr);
  }
  return cidrs;
}

// The first CIDR of each family distinguishes pods from others.
void detect_by_cidr(const std::vector<Cidr>& cidrs, ByFamily<plan::LocalDetector>& detectors) {
  for (const Cidr& cidr : cidrs) {
    plan::LocalDetector& detector = of(detectors, cidr.family());
    if (!detector.implemented()) detector = {plan::LocalDetector::Kind::kCidr, cidr, {}};
  }
}

std::vector<Cidr> parse_all(const std::vector<std::string>& texts) {
  std::vector<Cidr> cidrs;
  for (const std::string& text : texts) {
    if (const std::optional<Cidr> cidr = Cidr::parse(text)) cidrs.push_back(*cidr);
  }
  return cidrs;
}

}  // namespace

Family other_family(Family family) {
  return family == Family::kIPv4 ? Family::kIPv6 : Family::kIPv4;
}

Result<std::string> node_name(const ProxyConfig& config, std::string_view host_name) {
  std::string name = lower_case(trimmed(config.hostname_override.empty() ? host_name : config.hostname_override));
  if (name.empty()) return fail(Errc::kInvalid, "empty hostname is invalid");
  return name;
}

NodeIps detect_node_ips(const NodeAddressFacts& facts) {
  NodeIps ips;
  for (const Family family : kFamilies) of(ips.by_family, family) = loopback(family);
  // Internal addresses come before external ones, whatever their family; the first of each family counts.
  std::vector<IpAddress> known = facts.internal_ips;
  known.insert(known.end(), facts.external_ips.begin(), facts.external_ips.end());
  if (!known.empty()) ips.primary = known.front().family();
  for (auto address = known.rbegin(); address != known.rend(); ++address)
    of(ips.by_family, address->family()) = *address;
  const std::optional<IpAddress> bind = IpAddress::parse(facts.bind_address);
  if (bind && !bind->is_unspecified()) {
    ips.primary = bind->family();
    of(ips.by_family, bind->family()) = *bind;
  }
  ips.loopback_assumed = of(ips.by_family, ips.primary).is_loopback();
  return ips;
}

Result<std::vector<Family>> choose_families(Family primary, const ByFamily<bool>& supported) {
  if (!of(supported, primary)) {
    return fail(Errc::kUnsupported, fmt::format("no support for primary IP family {}", quoted(to_string(primary))));
  }
  std::vector<Family> families{primary};
  if (of(supported, other_family(primary))) families.push_back(other_family(primary));
  return families;
}

LocalDetectors local_detectors(const ProxyConfig& config, const std::vector<Cidr>& pod_cidrs, Family primary) {
  using Kind = plan::LocalDetector::Kind;
  LocalDetectors detectors;
  std::string missing;
  switch (detect_local_mode(config)) {
    case DetectLocalMode::kBridgeInterface:
      detectors.by_family.fill({Kind::kInterface, {}, config.detect_local.bridge_interface});
      break;
    case DetectLocalMode::kInterfaceNamePrefix:
      detectors.by_family.fill({Kind::kInterfacePrefix, {}, config.detect_local.interface_name_prefix});
      break;
    case DetectLocalMode::kNodeCidr:
      detect_by_cidr(pod_cidrs, detectors.by_family);
      missing = "Detect-local-mode set to NodeCIDR, but no PodCIDR defined at node for primary IP family";
      break;
    case DetectLocalMode::kClusterCidr:
      detect_by_cidr(parse_all(cluster_cidrs(config)), detectors.by_family);
      missing = "Detect-local-mode set to ClusterCIDR, but no cluster CIDR specified for primary IP family";
      break;
  }
  if (!of(detectors.by_family, primary).implemented()) detectors.notice = missing;
  return detectors;
}

std::vector<std::string> expand_node_port_addresses(const ProxyConfig& config, const NodeIps& ips) {
  const std::vector<std::string>& wanted = items(config.node_port_addresses);
  if (wanted != std::vector<std::string>{"primary"}) return wanted;
  std::vector<std::string> cidrs;
  for (const Family family : kFamilies) {
    const IpAddress& address = of(ips.by_family, family);
    if (!address.is_loopback())
      cidrs.push_back(fmt::format("{}/{}", address.to_string(), family == Family::kIPv4 ? 32 : 128));
  }
  return cidrs;
}

dataplane::NodePortAddresses node_port_addresses(Family family, const std::vector<std::string>& cidrs,
                                                 const std::vector<IpAddress>& local_addresses) {
  const std::vector<Cidr> wanted = parse_family(cidrs, family);
  const bool all =
      wanted.empty() || std::any_of(wanted.begin(), wanted.end(), [](const Cidr& cidr) { return cidr.is_zero(); });
  dataplane::NodePortAddresses result;
  result.all_local = all;
  if (all) return result;
  for (const IpAddress& address : local_addresses) {
    if (family == Family::kIPv6 && address.is_loopback()) continue;
    const auto holds = [&address](const Cidr& cidr) { return cidr.contains(address); };
    if (std::any_of(wanted.begin(), wanted.end(), holds)) result.addresses.push_back(address);
  }
  std::sort(result.addresses.begin(), result.addresses.end());
  result.addresses.erase(std::unique(result.addresses.begin(), result.addresses.end()), result.addresses.end());
  return result;
}

bool contains_ipv4_loopback(const std::vector<std::string>& cidrs) {
  const std::vector<Cidr> wanted = parse_family(cidrs, Family::kIPv4);
  const IpAddress loopback_start = IpAddress::from_v4(0x7f000000);
  return wanted.empty() || std::any_of(wanted.begin(), wanted.end(), [&loopback_start](const Cidr& cidr) {
           return cidr.address().is_loopback() || cidr.contains(loopback_start);
         });
}

bool localhost_node_ports(const ProxyConfig& config, const std::vector<std::string>& cidrs) {
  return config.iptables.localhost_node_ports.value_or(true) && contains_ipv4_loopback(cidrs);
}

std::vector<IpAddress> health_check_addresses(std::span<const Family> families,
                                              const ByFamily<dataplane::NodePortAddresses>& addresses) {
  std::vector<IpAddress> listen;
  for (const Family family : families) {
    const dataplane::NodePortAddresses& selected = of(addresses, family);
    if (selected.all_local) {
      listen.push_back(family == Family::kIPv4 ? IpAddress::from_v4(0) : IpAddress());
    } else {
      listen.insert(listen.end(), selected.addresses.begin(), selected.addresses.end());
    }
  }
  return listen;
}

}  // namespace sluice::config
