// SPDX-License-Identifier: Apache-2.0
// The last gate before the kernel is touched.
//
// All problems are reported at once, so that an operator who edits a ConfigMap does not learn of them one restart at a
// time. Alerts and habits match kube-proxy's texts, hence paths like KubeProxyLinuxConfiguration, which are names of Go
// types and not of fields of the file. Some rules apply in one mode only: a file may have invalid values for the modes
// it does not use.
#include "config/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "config/feature_gates.h"

namespace sluice::config {
namespace {

constexpr std::string_view kNotNegative = "must be greater than or equal to 0";
constexpr std::string_view kPositive = "must be greater than 0";
constexpr std::string_view kPreviousMinorVersion = "1.35";  // of the Kubernetes whose configuration we take

// A refused value as printed by Kubernetes: numbers bare, everything else as JSON.
std::string printed(std::int64_t value) {
  return std::to_string(value);
}
std::string printed(const std::string& value) {
  return quoted(value);
}
std::string printed(Duration value) {
  return quoted(format_duration(value));
}
std::string printed(const std::vector<std::string>& values) {
  std::string out;
  for (const std::string& value : values) out += (out.empty() ? "" : ",") + quoted(value);
  return "[" + out + "]";
}
std::string printed(const std::map<std::string, bool>& gates) {
  std::string out;
  for (const auto& [name, enabled] : gates)
    out += fmt::format("{}{}:{}", out.empty() ? "" : ",", quoted(name), enabled);
  return "{" + out + "}";
}

class Problems {
 public:
  explicit Problems(std::string prefix) : prefix_(std::move(prefix)) {}

  template <typename T>
  void invalid(std::string_view path, const T& value, std::string_view text) {
    list_.push_back(fmt::format("{}{}: Invalid value: {}: {}", prefix_, path, printed(value), text));
  }
  void other(std::string_view path, std::string_view kind, std::string_view text) {
    list_.push_back(fmt::format("{}{}: {}: {}", prefix_, path, kind, text));
  }
  void not_negative(std::string_view path, Duration value) {
    if (value < Duration(0)) invalid(path, value, kNotNegative);
  }
  void not_negative(std::string_view path, std::optional<std::int32_t> value) {
    if (value && *value < 0) invalid(path, *value, kNotNegative);
  }
  void within(std::string_view path, std::optional<std::int32_t> value, int least, int most) {
    if (value && (*value < least || *value > most)) {
      invalid(path, *value, fmt::format("must be within the range [{}, {}]", least, most));
    }
  }
  void add(std::vector<std::string> more) { list_.insert(list_.end(), more.begin(), more.end()); }
  std::vector<std::string> take() && { return std::move(list_); }

 private:
  std::string prefix_;
  std::vector<std::string> list_;
};

void check_ipvs(const IpvsConfig& ipvs, Problems& problems) {
  problems.not_negative("KubeProxyIPVSConfiguration.TCPTimeout", ipvs.tcp_timeout);
  problems.not_negative("KubeProxyIPVSConfiguration.TCPFinTimeout", ipvs.tcp_fin_timeout);
  problems.not_negative("KubeProxyIPVSConfiguration.UDPTimeout", ipvs.udp_timeout);
  const std::vector<std::string>& excluded = items(ipvs.exclude_cidrs);
  for (std::size_t i = 0; i < excluded.size(); ++i) {
    if (Cidr::parse(excluded[i])) continue;
    problems.invalid(fmt::format("KubeProxyIPVSConfiguration.ExcludeCidrs[{}]", i), excluded[i],
                     "must be a valid CIDR");
  }
}

void check_blocks(const ProxyConfig& config, Problems& problems) {
  problems.within("KubeProxyIPTablesConfiguration.MasqueradeBit", config.iptables.masquerade_bit, 0, 31);
  if (proxy_mode(config) == ProxyMode::kIpvs) check_ipvs(config.ipvs, problems);
  if (proxy_mode(config) == ProxyMode::kNftables) {
    problems.within("KubeProxyNFTablesConfiguration.MasqueradeBit", config.nftables.masquerade_bit, 0, 31);
  }
}

void check_linux(const ProxyConfig& config, Problems& problems) {
  const ConntrackConfig& conntrack = config.conntrack;
  const std::string path = "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.";
  problems.not_negative(path + "MaxPerCore", conntrack.max_per_core);
  problems.not_negative(path + "Min", conntrack.min);
  problems.not_negative(path + "TCPEstablishedTimeout", conntrack.tcp_established_timeout.value_or(Duration(0)));
  problems.not_negative(path + "TCPCloseWaitTimeout", conntrack.tcp_close_wait_timeout.value_or(Duration(0)));
  problems.not_negative(path + "UDPTimeout", conntrack.udp_timeout);
  problems.not_negative(path + "UDPStreamTimeout", conntrack.udp_stream_timeout);
  problems.within("KubeProxyLinuxConfiguration.OOMScoreAdj", config.oom_score_adj, -1000, 1000);
}

void check_mode(const ProxyConfig& config, Problems& problems) {
  if (config.mode.empty() || config.mode == to_string(proxy_mode(config))) return;
  problems.invalid(
      "Mode.ProxyMode", config.mode,
      "must be iptables, ipvs, nftables or blank (blank means the best-available proxy [currently iptables])");
}

void check_periods(const ProxyConfig& config, Problems& problems) {
  const SyncPeriods periods = sync_periods(config);
  if (config.config_sync_period <= Duration(0))
    problems.invalid("ConfigSyncPeriod", config.config_sync_period, kPositive);
  if (periods.period <= Duration(0)) problems.invalid("SyncPeriod", periods.period, kPositive);
  problems.not_negative("MinSyncPeriod", periods.min);
  if (periods.min > periods.period) {
    problems.invalid("SyncPeriod", periods.min,
                     "must be greater than or equal to KubeProxyConfiguration.MinSyncPeriod");
  }
}

void check_host_port(std::string_view path, const std::string& value, Problems& problems) {
  const std::optional<HostPort> parts = split_host_port(value);
  if (!parts) {
    problems.invalid(path, value, "must be IP:port");
    return;
  }
  if (!IpAddress::parse(parts->host)) problems.invalid(path, parts->host, "must be a valid IP");
  if (!parse_listen_address("0.0.0.0:" + parts->port)) problems.invalid(path, parts->port, "must be a valid port");
}

void check_addresses(const ProxyConfig& config, Problems& problems) {
  if (!IpAddress::parse(config.bind_address)) {
    problems.invalid("BindAddress", config.bind_address, "not a valid textual representation of an IP address");
  }
  if (!config.healthz_bind_address.empty())
    check_host_port("HealthzBindAddress", config.healthz_bind_address, problems);
  check_host_port("MetricsBindAddress", config.metrics_bind_address, problems);
}

void check_node_port_addresses(const std::vector<std::string>& addresses, Problems& problems) {
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const std::string path = fmt::format("NodePortAddresses[{}]", i);
    if (addresses[i] == "primary") {
      if (addresses.size() != 1) problems.invalid(path, addresses[i], "can't use both 'primary' and CIDRs");
      return;  // kube-proxy ignores what follows
    }
    if (!Cidr::parse(addresses[i])) problems.invalid(path, addresses[i], "must be a valid CIDR");
  }
}

void check_cluster_cidrs(const std::vector<std::string>& cidrs, Problems& problems) {
  const std::string path = "DetectLocalConfiguration.ClusterCIDRs";
  constexpr std::string_view kOneOrPair =
      "must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]";
  if (cidrs.size() > 2) {
    problems.invalid(path, cidrs, kOneOrPair);
    return;
  }
  std::vector<Cidr> parsed;
  for (std::size_t i = 0; i < cidrs.size(); ++i) {
    if (const std::optional<Cidr> cidr = Cidr::parse(cidrs[i])) {
      parsed.push_back(*cidr);
    } else {
      problems.invalid(fmt::format("{}[{}]", path, i), cidrs[i],
                       "must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)");
    }
  }
  if (parsed.size() == 2 && parsed[0].family() == parsed[1].family()) problems.invalid(path, cidrs, kOneOrPair);
}

void check_detect_local(const ProxyConfig& config, Problems& problems) {
  const std::string& text = config.detect_local_mode;
  const std::optional<DetectLocalMode> mode = parse_detect_local_mode(text);
  if (!mode) {
    problems.other("DetectLocalMode", fmt::format("Unsupported value: {}", quoted(text)),
                   R"(supported values: "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", "")");
    return;
  }
  switch (*mode) {
    case DetectLocalMode::kBridgeInterface:
      if (config.detect_local.bridge_interface.empty())
        problems.invalid("DetectLocalConfiguration.InterfaceName", std::string(), "must not be empty");
      return;
    case DetectLocalMode::kInterfaceNamePrefix:
      if (config.detect_local.interface_name_prefix.empty())
        problems.invalid("DetectLocalConfiguration.InterfacePrefix", std::string(), "must not be empty");
      return;
    case DetectLocalMode::kClusterCidr:
      if (!text.empty())
        check_cluster_cidrs(cluster_cidrs(config), problems);  // as kube-proxy: not where none is named
      return;
    case DetectLocalMode::kNodeCidr:
      return;
  }
}

void check_streams(const std::string& path, const LogStreams& streams, Problems& problems) {
  constexpr std::string_view kDisabled = "Feature LoggingAlphaOptions is disabled";
  if (streams.split_stream) problems.other(path + ".splitStream", "Forbidden", kDisabled);
  const bool zero = streams.info_buffer_size.text.find_first_of("123456789") == std::string::npos;
  if (!zero) problems.other(path + ".infoBufferSize", "Forbidden", kDisabled);
}

}  // namespace

std::vector<std::string> logging_problems(const ProxyConfig& config, const std::string& prefix) {
  constexpr std::int64_t kVerbosityMax = std::numeric_limits<std::int32_t>::max();
  const std::string too_verbose = fmt::format("Must be <= {}", kVerbosityMax);
  const Logging& logging = config.logging;
  Problems problems(prefix);
  if (logging.format == "json") {
    if (!gate_enabled(config.feature_gates, "LoggingBetaOptions")) {
      problems.other("format", "Forbidden", "Log format json is disabled, see LoggingBetaOptions feature");
    }
  } else if (logging.format != "text") {
    problems.invalid("format", logging.format, "Unsupported log format");
  }
  if (logging.verbosity > kVerbosityMax) problems.invalid("verbosity", std::int64_t{logging.verbosity}, too_verbose);
  if (!logging.vmodule.empty() && logging.format != "text") {
    problems.other("vmodule", "Forbidden", "Only supported for text log format");
  }
  for (std::size_t i = 0; i < logging.vmodule.size(); ++i) {
    const VerbosityPattern& item = logging.vmodule[i];
    const std::string path = fmt::format("vmodule[{}]", i);
    if (item.file_pattern.empty()) problems.other(path, "Required value", "File pattern must not be empty");
    if (item.file_pattern.find_first_of("=,") != std::string::npos) {
      problems.invalid(path, item.file_pattern, "File pattern must not contain equal sign or comma");
    }
    if (item.verbosity > kVerbosityMax) problems.invalid(path, std::int64_t{item.verbosity}, too_verbose);
  }
  if (!gate_enabled(config.feature_gates, "LoggingAlphaOptions")) {
    check_streams("options.text", logging.options.text, problems);
    check_streams("options.json", logging.options.json, problems);
  }
  return std::move(problems).take();
}

std::vector<std::string> config_problems(const ProxyConfig& config) {
  Problems problems("KubeProxyConfiguration.");
  if (auto gates = check_feature_gates(config.feature_gates); !gates) {
    problems.invalid("featureGates", config.feature_gates, gates.error().what);
  }
  check_blocks(config, problems);
  check_linux(config, problems);
  check_mode(config, problems);
  problems.not_negative("ClientConnection.Burst", config.client_connection.burst);
  check_periods(config, problems);
  check_addresses(config, problems);
  check_node_port_addresses(items(config.node_port_addresses), problems);
  if (!config.show_hidden_metrics_for_version.empty() &&
      config.show_hidden_metrics_for_version != kPreviousMinorVersion) {
    problems.invalid("ShowHiddenMetricsForVersion", config.show_hidden_metrics_for_version,
                     fmt::format("must be omitted or have the value '{}'; only the previous minor version is allowed",
                                 kPreviousMinorVersion));
  }
  check_detect_local(config, problems);
  problems.add(logging_problems(config, "KubeProxyConfiguration.logging."));
  return std::move(problems).take();
}

Result<> validate(const ProxyConfig& config) {
  const std::vector<std::string> problems = config_problems(config);
  if (!problems.empty()) return fail(Errc::kInvalid, aggregate(problems));
  return {};
}

}  // namespace sluice::config
