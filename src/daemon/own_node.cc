// SPDX-License-Identifier: Apache-2.0
#include "daemon/own_node.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "base/log.h"
#include "daemon/local_addresses.h"

namespace sluice::daemon {
namespace {

constexpr std::chrono::seconds kAddressWait{30};
constexpr std::chrono::seconds kPodCidrWait{300};

// Without an API server the node's addresses are not given: use the first of each family that other hosts can
// reach.
std::vector<IpAddress> host_addresses() {
  std::vector<IpAddress> result;
  for (const Family family : kFamilies) {
    for (const IpAddress& address : local_addresses()) {
      if (address.family() != family || address.is_loopback() || address.is_link_local()) continue;
      result.push_back(address);
      break;
    }
  }
  return result;
}

config::NodeIps node_ips(const config::ProxyConfig& config, const std::optional<model::Node>& node, bool files) {
  config::NodeAddressFacts facts;
  facts.bind_address = config.bind_address;
  if (node) {
    facts.internal_ips = node->internal_ips;
    facts.external_ips = node->external_ips;
  }
  if (files && facts.internal_ips.empty() && facts.external_ips.empty()) facts.internal_ips = host_addresses();
  return config::detect_node_ips(facts);
}

// Files need no Node, and a host whose only address is loopback is reached only there.
void log_addresses(const OwnNode& node, bool files) {
  if (node.ips.loopback_assumed && files) {
    SLUICE_LOG_INFO("This host has no address but loopback", {"node", node.name});
    return;
  }
  if (node.ips.loopback_assumed) {
    SLUICE_LOG_ERROR(
        "Can't determine this node's IP, assuming loopback; if this is incorrect, please set the --bind-address flag",
        {"node", node.name});
    return;
  }
  SLUICE_LOG_INFO("Successfully retrieved NodeIPs", {"IPv4", config::of(node.ips.by_family, Family::kIPv4).to_string()},
                  {"IPv6", config::of(node.ips.by_family, Family::kIPv6).to_string()});
}

}  // namespace

Result<std::string> own_node_name(const config::ProxyConfig& config) {
  std::array<char, 256> name{};
  return config::node_name(config, ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "");
}

std::string OwnNode::zone() const {
  if (!object) return "";
  const auto label = object->labels.find(std::string(model::kZoneLabel));
  return label == object->labels.end() ? "" : label->second;
}

Result<std::optional<OwnNode>> learn_own_node(const config::ProxyConfig& config, const std::string& name, bool files,
                                              NodeGate& gate) {
  OwnNode node;
  node.name = name;
  node.object =
      gate.wait({fmt::format("an address of Node \"{}\"", name), kAddressWait, files, [](const model::Node& object) {
                   return !object.internal_ips.empty() || !object.external_ips.empty();
                 }});
  if (detect_local_mode(config) == config::DetectLocalMode::kNodeCidr && !gate.given_up()) {
    node.object = gate.wait({fmt::format("podCIDRs of Node \"{}\" (detectLocalMode NodeCIDR)", name), kPodCidrWait,
                             files, [](const model::Node& object) { return !object.pod_cidrs.empty(); }});
    if (!gate.given_up() && node.pod_cidrs().empty()) {
      return fail(Errc::kUnavailable,
                  fmt::format("timed out waiting for podCIDRs of node \"{}\" (detectLocalMode NodeCIDR)", name));
    }
  }
  if (gate.given_up()) return std::optional<OwnNode>();
  node.ips = node_ips(config, node.object, files);
  log_addresses(node, files);
  return std::optional<OwnNode>(std::move(node));
}

}  // namespace sluice::daemon
