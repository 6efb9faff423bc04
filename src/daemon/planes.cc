// SPDX-License-Identifier: Apache-2.0
#include "daemon/planes.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "config/detect.h"
#include "config/validate_families.h"
#include "daemon/local_addresses.h"

namespace sluice::daemon {
namespace {

using config::ByFamily;
using config::of;

// Without a log line it would be unclear why such a node port is not served.
void note_loopback_node_ports(const config::ProxyConfig& config, const std::vector<std::string>& cidrs) {
  for (const std::string& text : cidrs) {
    const auto cidr = Cidr::parse(text);
    if (!cidr || cidr->is_zero() || !cidr->address().is_loopback()) continue;
    const bool six = cidr->address().family() == Family::kIPv6;
    if (!six && config.iptables.localhost_node_ports.value_or(true)) continue;
    SLUICE_LOG_ERROR(
        "A nodePortAddresses entry is left out", {"cidr", text},
        {"reason", six ? "node ports are not served on IPv6 loopback" : "iptables.localhostNodePorts is false"});
  }
}

void log_families(const std::vector<Family>& families, const ByFamily<std::string>& reasons) {
  if (families.size() == 2) {
    SLUICE_LOG_INFO("kube-proxy running in dual-stack mode", {"primary ipFamily", to_string(families.front())});
  } else {
    SLUICE_LOG_INFO("kube-proxy running in single-stack mode", {"ipFamily", to_string(families.front())},
                    {"reason", of(reasons, config::other_family(families.front()))});
  }
}

}  // namespace

Result<ProbedFamilies> probe_families(dataplane::Mechanism& mode) {
  ProbedFamilies probed;
  ByFamily<bool> unknown{};
  for (const Family family : kFamilies) {
    const auto result = mode.probe(family);
    of(probed.supported, family) = static_cast<bool>(result);
    if (result) continue;
    of(probed.reasons, family) = result.error().what;
    of(unknown, family) = result.error().code == Errc::kUnavailable;
  }
  for (const Family family : kFamilies) {
    if (of(unknown, family) && of(probed.supported, config::other_family(family))) {
      return fail(Errc::kUnavailable, fmt::format("cannot find out whether mode {} can serve {} on this host: {}",
                                                  mode.name(), to_string(family), of(probed.reasons, family)));
    }
  }
  return probed;
}

Result<Serving> choose_serving(const config::CommandLine& command, const OwnNode& node) {
  if (!command.mode_named) SLUICE_LOG_INFO("Using iptables proxy");  // as in kube-proxy if no mode is named
  Serving serving;
  serving.mechanisms = make_mechanisms(command.config, command.sluice);
  SLUICE_TRY(serving.mode, mechanism_named(serving.mechanisms, to_string(proxy_mode(command.config))));
  SLUICE_TRY(const ProbedFamilies probed, probe_families(*serving.mode));
  auto families = config::choose_families(node.ips.primary, probed.supported);
  if (!families) {
    return annotate(families.error(),
                    fmt::format("mode {} is not available on this host: {}", to_string(proxy_mode(command.config)),
                                of(probed.reasons, node.ips.primary)));
  }
  serving.families = std::move(*families);
  log_families(serving.families, probed.reasons);
  serving.detectors = local_detectors(command.config, node.pod_cidrs(), serving.families.front());
  serving.node_port_cidrs = config::expand_node_port_addresses(command.config, node.ips);
  note_loopback_node_ports(command.config, serving.node_port_cidrs);
  return serving;
}

Result<> check_against_node(const config::ProxyConfig& config, const Serving& serving, const OwnNode& node) {
  const config::ClusterFacts facts{serving.families.front(), serving.families.size() == 2, node.pod_cidrs(),
                                   serving.node_port_cidrs};
  for (const config::Findings& findings : {check_node_ports(config, facts), check_families(config, facts)}) {
    for (const std::string& note : findings.notes) SLUICE_LOG_INFO("About the configuration", {"note", note});
    for (const std::string& problem : findings.problems)
      SLUICE_LOG_ERROR("Kube-proxy configuration may be incomplete or incorrect", {"err", problem});
    if (findings.fatal) return fail(Errc::kInvalid, findings.fatal_text());
  }
  return {};
}

Result<std::vector<std::unique_ptr<dataplane::DataPlane>>> open_data_planes(
    const config::CommandLine& command, const Serving& serving, const std::vector<IpAddress>& api_server_addresses) {
  if (!serving.detectors.notice.empty()) SLUICE_LOG_INFO(serving.detectors.notice);
  const bool localhost = localhost_node_ports(command.config, serving.node_port_cidrs);
  const std::string mode(to_string(proxy_mode(command.config)));
  std::vector<std::unique_ptr<dataplane::DataPlane>> planes;
  for (const Family family : serving.families) {
    const dataplane::PlaneSettings settings{family, of(serving.detectors.by_family, family), localhost,
                                            api_server_addresses};
    if (command.init_only) SLUICE_CHECK_OK(serving.mode->prepare_node(settings));
    SLUICE_TRY(auto plane, serving.mode->open(settings));
    SLUICE_LOG_INFO(fmt::format("Using {} Proxier", mode), {"ipFamily", to_string(family)},
                    {"flavour", serving.mode->flavour()},
                    {"why", command.mode_named ? fmt::format("mode {} is configured", mode)
                                               : "no mode is configured, iptables is the default"});
    planes.push_back(std::move(plane));
  }
  return planes;
}

dataplane::NodePortAddresses node_port_addresses_now(const Serving& serving, Family family) {
  return config::node_port_addresses(family, serving.node_port_cidrs, local_addresses());
}

std::vector<IpAddress> health_check_addresses_now(const Serving& serving) {
  config::ByFamily<dataplane::NodePortAddresses> addresses;
  for (const Family family : serving.families) config::of(addresses, family) = node_port_addresses_now(serving, family);
  return config::health_check_addresses(serving.families, addresses);
}

}  // namespace sluice::daemon
