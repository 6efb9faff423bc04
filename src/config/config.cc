// SPDX-License-Identifier: Apache-2.0
// What an absent field means.
//
// A configuration file rarely names more than five of its sixty fields, and the file that kubeadm writes names all of
// them with zeros: `burst: 0`, `syncPeriod: 0s`, `masqueradeBit: null`. kube-proxy reads both the same way, because it
// replaces zeros by defaults in every field where zero makes no sense. We do so in exactly the same fields; where
// zero does make sense (ipvs.minSyncPeriod, conntrack.udpTimeout) it stays. Facts:
// pkg/proxy/apis/config/v1alpha1/defaults.go of Kubernetes 1.36.
//
// Three blocks (iptables, ipvs, nftables) have sync periods, but a proxy has one pair: that of its mode. kube-proxy
// drops the other two when it converts the file to its internal form, and prints them as 0s afterwards; so do we.
#include "config/config.h"

#include "base/check.h"

namespace sluice::config {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr int kHealthzPort = 10256;
constexpr int kMetricsPort = 10249;
constexpr std::int32_t kMasqueradeBit = 14;

template <typename T>
void fill(T& field, T value) {
  if (field == T{}) field = std::move(value);
}

template <typename T>
void fill(std::optional<T>& field, T value) {
  if (!field) field = value;
}

void fill_address(std::string& field, const std::string& host, int port) {
  field = field.empty() ? host + ":" + std::to_string(port) : append_port_if_needed(field, port);
}

void fill_blocks(ProxyConfig& config) {
  fill<Duration>(config.iptables.sync_period, seconds(30));
  fill<Duration>(config.iptables.min_sync_period, seconds(1));
  fill(config.iptables.masquerade_bit, kMasqueradeBit);
  fill(config.iptables.localhost_node_ports, true);
  fill<Duration>(config.ipvs.sync_period, seconds(30));
  fill<Duration>(config.nftables.sync_period, seconds(30));
  fill<Duration>(config.nftables.min_sync_period, seconds(1));
  fill(config.nftables.masquerade_bit, kMasqueradeBit);
}

}  // namespace

void apply_defaults(ProxyConfig& config) {
  fill(config.bind_address, std::string("0.0.0.0"));
  const std::optional<IpAddress> bind = IpAddress::parse(config.bind_address);
  const bool ipv4 = bind && bind->family() == Family::kIPv4;
  fill_address(config.healthz_bind_address, ipv4 ? "0.0.0.0" : "[::]", kHealthzPort);
  fill_address(config.metrics_bind_address, ipv4 ? "127.0.0.1" : "[::1]", kMetricsPort);
  fill(config.oom_score_adj, -999);
  fill_blocks(config);
  fill(config.conntrack.max_per_core, 32 * 1024);
  fill(config.conntrack.min, 128 * 1024);
  fill<Duration>(config.conntrack.tcp_established_timeout, hours(24));
  fill<Duration>(config.conntrack.tcp_close_wait_timeout, hours(1));
  fill<Duration>(config.config_sync_period, minutes(15));
  fill(config.client_connection.content_type, std::string("application/vnd.kubernetes.protobuf"));
  fill(config.client_connection.qps, 5.0F);
  fill(config.client_connection.burst, 10);
  fill(config.logging.format, std::string("text"));
  fill<Duration>(config.logging.flush_frequency.value, seconds(5));
}

void keep_effective_blocks(ProxyConfig& config) {
  const SyncPeriods periods = sync_periods(config);
  const bool all = masquerade_all(config);
  const ProxyMode mode = proxy_mode(config);
  config.port_range.clear();
  config.iptables.sync_period = config.ipvs.sync_period = config.nftables.sync_period = Duration(0);
  config.iptables.min_sync_period = config.ipvs.min_sync_period = config.nftables.min_sync_period = Duration(0);
  config.nftables.masquerade_all = mode == ProxyMode::kNftables && all;
  config.iptables.masquerade_all = mode != ProxyMode::kNftables && all;
  const auto keep = [&periods](auto& block) {
    block.sync_period = periods.period;
    block.min_sync_period = periods.min;
  };
  switch (mode) {
    case ProxyMode::kIptables:
      keep(config.iptables);
      break;
    case ProxyMode::kIpvs:
      keep(config.ipvs);
      break;
    case ProxyMode::kNftables:
      keep(config.nftables);
      break;
  }
}

void apply_platform_defaults(ProxyConfig& config) {
  fill(config.mode, std::string("iptables"));
  fill(config.detect_local_mode, std::string("ClusterCIDR"));
  const bool nftables = proxy_mode(config) == ProxyMode::kNftables;
  if (nftables && items(config.node_port_addresses).empty()) config.node_port_addresses = {"primary"};
}

ProxyConfig default_config() {
  ProxyConfig config;
  apply_defaults(config);
  keep_effective_blocks(config);
  return config;
}

std::string_view to_string(ProxyMode mode) {
  switch (mode) {
    case ProxyMode::kIptables:
      return "iptables";
    case ProxyMode::kIpvs:
      return "ipvs";
    case ProxyMode::kNftables:
      return "nftables";
  }
  return "";
}

ProxyMode proxy_mode(const ProxyConfig& config) {
  if (config.mode == "ipvs") return ProxyMode::kIpvs;
  if (config.mode == "nftables") return ProxyMode::kNftables;
  return ProxyMode::kIptables;
}

const std::vector<std::string>& items(const TextList& list) {
  static const std::vector<std::string> none;
  return list ? *list : none;
}

std::optional<DetectLocalMode> parse_detect_local_mode(std::string_view text) {
  if (text == "ClusterCIDR" || text.empty()) return DetectLocalMode::kClusterCidr;
  if (text == "NodeCIDR") return DetectLocalMode::kNodeCidr;
  if (text == "BridgeInterface") return DetectLocalMode::kBridgeInterface;
  if (text == "InterfaceNamePrefix") return DetectLocalMode::kInterfaceNamePrefix;
  return std::nullopt;
}

DetectLocalMode detect_local_mode(const ProxyConfig& config) {
  const auto mode = parse_detect_local_mode(config.detect_local_mode);
  SLUICE_CHECK(mode);
  return *mode;
}

SyncPeriods sync_periods(const ProxyConfig& config) {
  switch (proxy_mode(config)) {
    case ProxyMode::kIpvs:
      return {config.ipvs.sync_period, config.ipvs.min_sync_period};
    case ProxyMode::kNftables:
      return {config.nftables.sync_period, config.nftables.min_sync_period};
    case ProxyMode::kIptables:
      break;
  }
  return {config.iptables.sync_period, config.iptables.min_sync_period};
}

bool masquerade_all(const ProxyConfig& config) {
  return proxy_mode(config) == ProxyMode::kNftables ? config.nftables.masquerade_all : config.iptables.masquerade_all;
}

int masquerade_bit(const ProxyConfig& config) {
  const bool nftables = proxy_mode(config) == ProxyMode::kNftables;
  return (nftables ? config.nftables.masquerade_bit : config.iptables.masquerade_bit).value_or(kMasqueradeBit);
}

std::vector<std::string> cluster_cidrs(const ProxyConfig& config) {
  return config.cluster_cidr.empty() ? std::vector<std::string>{} : split(config.cluster_cidr, ',');
}

}  // namespace sluice::config
