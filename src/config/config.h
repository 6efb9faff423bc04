// SPDX-License-Identifier: Apache-2.0
// The daemon's configuration as values: KubeProxyConfiguration v1alpha1, field by field as in Kubernetes 1.36,
// and our own SluiceConfiguration beside it. They are read by file.h, printed by text.h,
// validated by validate.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/data_folder.h"
#include "config/scalar.h"
#include "ipvs/engine_choice.h"

namespace sluice::config {

// Absent and empty mean the same; a configuration that is written back distinguishes them (null, []), as kube-proxy's.
using TextList = std::optional<std::vector<std::string>>;
const std::vector<std::string>& items(const TextList& list);

struct ClientConnection {
  std::string kubeconfig;
  std::string accept_content_types;
  std::string content_type;
  float qps = 0;
  std::int32_t burst = 0;
  friend bool operator==(const ClientConnection&, const ClientConnection&) = default;
};

struct VerbosityPattern {
  std::string file_pattern;
  std::uint32_t verbosity = 0;
  friend bool operator==(const VerbosityPattern&, const VerbosityPattern&) = default;
};

// The only duration in the file that may also be a number, then in nanoseconds.
struct FlushFrequency {
  Duration value{0};
  friend bool operator==(const FlushFrequency&, const FlushFrequency&) = default;
};

// A Kubernetes quantity ("0", "64Ki"), kept as written.
struct Quantity {
  std::string text = "0";
  friend bool operator==(const Quantity&, const Quantity&) = default;
};

struct LogStreams {
  bool split_stream = false;
  Quantity info_buffer_size;
  friend bool operator==(const LogStreams&, const LogStreams&) = default;
};

struct LoggingOptions {
  LogStreams text;
  LogStreams json;
  friend bool operator==(const LoggingOptions&, const LoggingOptions&) = default;
};

struct Logging {
  std::string format;
  FlushFrequency flush_frequency;
  std::uint32_t verbosity = 0;
  std::vector<VerbosityPattern> vmodule;
  LoggingOptions options;
  friend bool operator==(const Logging&, const Logging&) = default;
};

struct IptablesConfig {
  std::optional<std::int32_t> masquerade_bit;  // of mode ipvs too
  bool masquerade_all = false;                 // of mode ipvs too
  std::optional<bool> localhost_node_ports;
  Duration sync_period{0};
  Duration min_sync_period{0};
  friend bool operator==(const IptablesConfig&, const IptablesConfig&) = default;
};

struct IpvsConfig {
  Duration sync_period{0};
  Duration min_sync_period{0};
  std::string scheduler;
  TextList exclude_cidrs;
  bool strict_arp = false;
  Duration tcp_timeout{0};
  Duration tcp_fin_timeout{0};
  Duration udp_timeout{0};
  friend bool operator==(const IpvsConfig&, const IpvsConfig&) = default;
};

struct NftablesConfig {
  std::optional<std::int32_t> masquerade_bit;
  bool masquerade_all = false;
  Duration sync_period{0};
  Duration min_sync_period{0};
  friend bool operator==(const NftablesConfig&, const NftablesConfig&) = default;
};

// Read and written back, never acted upon: we run on Linux.
struct WinkernelConfig {
  std::string network_name;
  std::string source_vip;
  bool enable_dsr = false;
  std::string root_hns_endpoint_name;
  bool forward_health_check_vip = false;
  friend bool operator==(const WinkernelConfig&, const WinkernelConfig&) = default;
};

struct DetectLocal {
  std::string bridge_interface;
  std::string interface_name_prefix;
  friend bool operator==(const DetectLocal&, const DetectLocal&) = default;
};

struct ConntrackConfig {
  std::optional<std::int32_t> max_per_core;
  std::optional<std::int32_t> min;
  std::optional<Duration> tcp_established_timeout;
  std::optional<Duration> tcp_close_wait_timeout;
  bool tcp_be_liberal = false;
  Duration udp_timeout{0};
  Duration udp_stream_timeout{0};
  friend bool operator==(const ConntrackConfig&, const ConntrackConfig&) = default;
};

inline constexpr std::string_view kProxyApiVersion = "kubeproxy.config.k8s.io/v1alpha1";
inline constexpr std::string_view kProxyKind = "KubeProxyConfiguration";
inline constexpr std::string_view kSluiceApiVersion = "sluice.dev/v1alpha1";
inline constexpr std::string_view kSluiceKind = "SluiceConfiguration";

// A ProxyConfig{} is an empty document; default_config() is what an empty document means. In a completed one only the
// block of its mode has sync periods and masqueradeAll: use sync_periods() and masquerade_all().
struct ProxyConfig {
  std::map<std::string, bool> feature_gates;
  ClientConnection client_connection;
  Logging logging;
  std::string hostname_override;
  std::string bind_address;
  std::string healthz_bind_address;
  std::string metrics_bind_address;
  bool bind_address_hard_fail = false;
  bool enable_profiling = false;
  std::string show_hidden_metrics_for_version;
  std::string mode;
  IptablesConfig iptables;
  IpvsConfig ipvs;
  NftablesConfig nftables;
  WinkernelConfig winkernel;
  std::string detect_local_mode;
  DetectLocal detect_local;
  std::string cluster_cidr;  // one, or several with commas
  TextList node_port_addresses;
  std::optional<std::int32_t> oom_score_adj;
  ConntrackConfig conntrack;
  Duration config_sync_period{0};
  std::string port_range;
  bool windows_run_as_service = false;
  friend bool operator==(const ProxyConfig&, const ProxyConfig&) = default;
};

enum class IptablesFlavour : std::uint8_t { kAuto, kNft, kLegacy };
using IpvsEngine = ipvs::EngineChoice;

// What kube-proxy's configuration has no field for. Every field may be absent.
struct SluiceConfig {
  struct Iptables {
    IptablesFlavour flavour = IptablesFlavour::kAuto;
    friend bool operator==(const Iptables&, const Iptables&) = default;
  };
  struct Ipvs {
    IpvsEngine engine = IpvsEngine::kAuto;
    Duration drain_timeout = std::chrono::minutes(15);
    friend bool operator==(const Ipvs&, const Ipvs&) = default;
  };
  std::string manifests;  // folder to read Services from instead of an API server; empty = API server
  Iptables iptables;
  Ipvs ipvs;
  bool drift_repair = true;
  std::string data_dir = kDefaultDataFolder;
  friend bool operator==(const SluiceConfig&, const SluiceConfig&) = default;
};

// Fills absent fields like kube-proxy 1.36; a zero counts as absent wherever it does in kube-proxy's own defaulting.
void apply_defaults(ProxyConfig& config);
// Keeps sync periods and masqueradeAll only of the mode's block, and no portRange, like kube-proxy's internal form.
void keep_effective_blocks(ProxyConfig& config);
// The last step of completion: no mode is iptables, no detectLocalMode is ClusterCIDR, nftables listens on "primary".
void apply_platform_defaults(ProxyConfig& config);
// What an empty file means, before apply_platform_defaults().
ProxyConfig default_config();

enum class ProxyMode : std::uint8_t { kIptables, kIpvs, kNftables };
std::string_view to_string(ProxyMode mode);
// For a valid configuration.
ProxyMode proxy_mode(const ProxyConfig& config);

enum class DetectLocalMode : std::uint8_t { kClusterCidr, kNodeCidr, kBridgeInterface, kInterfaceNamePrefix };
std::optional<DetectLocalMode> parse_detect_local_mode(std::string_view text);  // as written; empty is kClusterCidr
// Of a valid configuration.
DetectLocalMode detect_local_mode(const ProxyConfig& config);

struct SyncPeriods {
  Duration period{0};
  Duration min{0};
  friend bool operator==(const SyncPeriods&, const SyncPeriods&) = default;
};
SyncPeriods sync_periods(const ProxyConfig& config);
bool masquerade_all(const ProxyConfig& config);
// Bit of the packet mark that requests masquerading: the nftables block's in mode nftables, else the iptables block's.
int masquerade_bit(const ProxyConfig& config);
std::vector<std::string> cluster_cidrs(const ProxyConfig& config);

}  // namespace sluice::config
