// SPDX-License-Identifier: Apache-2.0
// Every flag of kube-proxy 1.36, the flags that 1.20 had beside them, and ours.
//
// A flag that a newer or older kube-proxy knew must never keep a node's proxy from starting: flags that have no effect
// here are accepted and logged. Values are read like in Go's pflag, so 0x10 is a number and T a
// boolean.
#include "config/flags_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/data_folder.h"
#include "config/feature_gates.h"

namespace sluice::config {
namespace {

Result<> refuse(std::string reason) {
  return fail(Errc::kInvalid, std::move(reason));
}

Result<> parse_into(std::string_view text, std::string& out) {
  out = text;
  return {};
}

Result<> parse_into(std::string_view text, bool& out) {
  const std::optional<bool> value = parse_bool(text);
  if (!value) return refuse("true or false is wanted");
  out = *value;
  return {};
}

template <typename Integer>
  requires std::is_same_v<Integer, std::int32_t> || std::is_same_v<Integer, std::uint32_t>
Result<> parse_into(std::string_view text, Integer& out) {
  using Limits = std::numeric_limits<Integer>;
  const std::optional<std::int64_t> value = parse_integer(text);
  if (!value) return refuse("a whole number is wanted");
  if (*value < std::int64_t{Limits::min()} || *value > std::int64_t{Limits::max()}) return refuse("value out of range");
  out = static_cast<Integer>(*value);
  return {};
}

Result<> parse_into(std::string_view text, float& out) {
  const std::optional<double> value = parse_number(text);
  if (!value) return refuse("a number is wanted");
  out = static_cast<float>(*value);
  return {};
}

Result<> parse_into(std::string_view text, Duration& out) {
  SLUICE_TRY(out, parse_duration(text));
  return {};
}

Result<> parse_into(std::string_view text, FlushFrequency& out) {
  return parse_into(text, out.value);
}

Result<> parse_into(std::string_view text, Quantity& out) {
  if (text.empty() || text.find_first_not_of("0123456789kKMGTPEi") != std::string_view::npos) {
    return refuse("a quantity is wanted");
  }
  out.text = text;
  return {};
}

// Comma separated; a repeated flag adds.
Result<> parse_into(std::string_view text, std::vector<std::string>& out) {
  if (text.empty()) return {};
  for (std::string& part : split(text, ',')) out.push_back(std::move(part));
  return {};
}

Result<> parse_into(std::string_view text, TextList& out) {
  if (!out) out.emplace();
  return parse_into(text, *out);
}

Result<> parse_into(std::string_view text, std::map<std::string, bool>& out) {
  SLUICE_TRY(auto gates, parse_feature_gates(text));
  for (const auto& [name, enabled] : gates) out.insert_or_assign(name, enabled);
  return {};
}

// "gopher*=2,main=9": file name patterns with their verbosity.
Result<> parse_into(std::string_view text, std::vector<VerbosityPattern>& out) {
  for (const std::string& part : split(text, ',')) {
    if (part.empty()) continue;
    const std::vector<std::string> sides = split(part, '=');
    if (sides.size() != 2 || sides[0].empty()) return refuse(fmt::format("{} is not pattern=N", quoted(part)));
    const std::optional<std::int64_t> level = parse_integer(sides[1]);
    if (!level || *level < 0 || *level > std::numeric_limits<std::int32_t>::max()) {
      return refuse(fmt::format("the verbosity in {} is not a number", quoted(part)));
    }
    out.push_back({sides[0], static_cast<std::uint32_t>(*level)});
  }
  return {};
}

template <typename T>
Result<> parse_into(std::string_view text, std::optional<T>& out) {
  T value{};
  if (auto parsed = parse_into(text, value); !parsed) return parsed;
  out = std::move(value);
  return {};
}

template <auto kAccess>
Result<> store(Flags& flags, std::string_view text) {
  return parse_into(text, kAccess(flags));
}

// An empty text leaves the address unchanged, although one would expect it to be cleared: as in kube-proxy.
template <auto kAccess>
Result<> store_ip(Flags& flags, std::string_view text) {
  if (text.empty()) return {};
  if (!IpAddress::parse(text)) return refuse(fmt::format("{} is not a valid IP address", quoted(text)));
  kAccess(flags) = text;
  return {};
}

template <auto kAccess>
Result<> store_ip_port(Flags& flags, std::string_view text) {
  if (text.empty() || IpAddress::parse(text)) return store_ip<kAccess>(flags, text);
  const std::optional<HostPort> parts = split_host_port(text);
  if (!parts) return refuse(fmt::format("{} is not in a valid format (ip or ip:port)", quoted(text)));
  if (!IpAddress::parse(parts->host)) return refuse(fmt::format("{} is not a valid IP address", quoted(parts->host)));
  if (!parse_integer(parts->port)) return refuse(fmt::format("{} is not a valid number", quoted(parts->port)));
  kAccess(flags) = text;
  return {};
}

Result<> store_version(Flags& flags, std::string_view text) {
  const std::optional<bool> truth = parse_bool(text);
  if (!truth && text != "raw" && !text.starts_with("v")) return refuse("true, false, raw or vX.Y.Z is wanted");
  flags.version = truth ? (*truth ? "true" : "false") : std::string(text);
  return {};
}

std::string text_of(const std::string& value) {
  return value;
}
std::string text_of(bool value) {
  return value ? "true" : "false";
}
template <typename Number>
  requires std::is_arithmetic_v<Number>
std::string text_of(Number value) {
  return fmt::format("{}", value);
}
std::string text_of(Duration value) {
  return format_duration(value);
}
std::string text_of(const FlushFrequency& value) {
  return format_duration(value.value);
}
std::string text_of(const Quantity& value) {
  return value.text;
}
std::string text_of(const std::vector<std::string>& values) {
  return fmt::format("[{}]", fmt::join(values, ","));
}
std::string text_of(const TextList& values) {
  return text_of(items(values));
}
std::string text_of(const std::map<std::string, bool>& values) {
  std::string out;
  for (const auto& [name, enabled] : values) out += fmt::format("{}{}={}", out.empty() ? "" : ",", name, enabled);
  return out;
}
std::string text_of(const std::vector<VerbosityPattern>& values) {
  std::string out;
  for (const auto& [pattern, level] : values) out += fmt::format("{}{}={}", out.empty() ? "" : ",", pattern, level);
  return out;
}

template <auto kAccess>
std::optional<std::string> show(Flags& flags) {
  const auto& value = kAccess(flags);
  if constexpr (requires { value.has_value(); } && !std::is_same_v<decltype(value), const TextList&>) {
    if (!value) return std::nullopt;
    return text_of(*value);
  } else {
    return text_of(value);
  }
}

using G = FlagGroup;
constexpr auto kApplies = WithConfig::kApplies;
constexpr auto kIgnored = WithConfig::kIgnored;
constexpr auto kHonoured = FlagUse::kHonoured;
constexpr auto kDeprecated = FlagUse::kDeprecated;
constexpr auto kNoEffect = FlagUse::kNoEffect;
constexpr std::string_view kKlog = "the log goes to standard error, in klog's form";

#define SLUICE_IN(expression) ([](Flags& f) -> auto& { return f.expression; })
#define SLUICE_KEEP(store, expression) &store<SLUICE_IN(expression)>, &show<SLUICE_IN(expression)>
#define SLUICE_STORE(expression) SLUICE_KEEP(store, expression)
#define SLUICE_NOWHERE &store<SLUICE_IN(unused)>, nullptr
// clang-format off
constexpr FlagSpec kTable[] = {
  {G::kSluice, kApplies, kHonoured, "data-dir", "path", kDefaultDataFolder, "Folder for what must survive a restart of the daemon; wins over dataDir of the file.", SLUICE_STORE(data_dir)},
  {G::kSluice, kApplies, kHonoured, "help", "", "false", "Print this text and exit; also -h.", SLUICE_STORE(help)},
  {G::kSluice, kApplies, kHonoured, "manifests", "path", "", "Read Services, EndpointSlices and the Node from the YAML and JSON files of this folder, not from an API server; wins over manifests of the file.", SLUICE_STORE(manifests)},

  {G::kProxy, kIgnored, kHonoured, "bind-address", "ip", "0.0.0.0", "Overrides what is taken for the node's primary IP address and family; nothing listens on it.", SLUICE_KEEP(store_ip, config.bind_address)},
  {G::kProxy, kIgnored, kHonoured, "bind-address-hard-fail", "", "false", "End the program if the healthz or metrics address cannot be listened on, instead of trying again.", SLUICE_STORE(config.bind_address_hard_fail)},
  {G::kProxy, kApplies, kNoEffect, "boot-id-file", "path", "/proc/sys/kernel/random/boot_id", "Accepted for kube-proxy's sake.", SLUICE_NOWHERE, "nothing here reads a boot id"},
  {G::kProxy, kApplies, kHonoured, "cleanup", "", "false", "Remove the rules of all proxy modes and exit.", SLUICE_STORE(cleanup)},
  {G::kProxy, kIgnored, kHonoured, "cluster-cidr", "cidrs", "", "The pods' addresses: one CIDR, or two of different families with a comma. Sources outside of it are not pods of the cluster.", SLUICE_STORE(config.cluster_cidr)},
  {G::kProxy, kApplies, kHonoured, "config", "path", "", "Configuration file. With it, flags that the file has fields for are ignored.", SLUICE_STORE(config_path)},
  {G::kProxy, kIgnored, kHonoured, "config-sync-period", "duration", "15m0s", "How often everything is read from the API server again.", SLUICE_STORE(config.config_sync_period)},
  {G::kProxy, kIgnored, kHonoured, "conntrack-max-per-core", "number", "32768", "Connections to track for each processor; 0 leaves the kernel's limit as it is.", SLUICE_STORE(config.conntrack.max_per_core)},
  {G::kProxy, kIgnored, kHonoured, "conntrack-min", "number", "131072", "The least number of connections to track, whatever --conntrack-max-per-core yields.", SLUICE_STORE(config.conntrack.min)},
  {G::kProxy, kIgnored, kHonoured, "conntrack-tcp-be-liberal", "", "false", "Let the kernel track TCP packets that lie outside of the window.", SLUICE_STORE(config.conntrack.tcp_be_liberal)},
  {G::kProxy, kIgnored, kHonoured, "conntrack-tcp-timeout-close-wait", "duration", "1h0m0s", "Kernel timeout of TCP connections in CLOSE_WAIT.", SLUICE_STORE(config.conntrack.tcp_close_wait_timeout)},
  {G::kProxy, kIgnored, kHonoured, "conntrack-tcp-timeout-established", "duration", "24h0m0s", "Kernel timeout of idle TCP connections; 0 leaves it as it is.", SLUICE_STORE(config.conntrack.tcp_established_timeout)},
  {G::kProxy, kIgnored, kHonoured, "conntrack-udp-timeout", "duration", "0s", "Kernel timeout of UDP flows without a reply; 0 leaves it as it is.", SLUICE_STORE(config.conntrack.udp_timeout)},
  {G::kProxy, kIgnored, kHonoured, "conntrack-udp-timeout-stream", "duration", "0s", "Kernel timeout of UDP flows with replies; 0 leaves it as it is.", SLUICE_STORE(config.conntrack.udp_stream_timeout)},
  {G::kProxy, kIgnored, kHonoured, "detect-local-mode", "mode", "", "How pods of this node are distinguished from other sources: ClusterCIDR (also when empty), NodeCIDR, BridgeInterface or InterfaceNamePrefix.", SLUICE_STORE(config.detect_local_mode)},
  {G::kProxy, kIgnored, kHonoured, "feature-gates", "gates", "", "NAME=true or NAME=false, with commas. AllowServiceExternalIPs, ComponentFlagz, ComponentStatusz, LoggingAlphaOptions and LoggingBetaOptions have a meaning here.", SLUICE_STORE(config.feature_gates)},
  {G::kProxy, kIgnored, kHonoured, "healthz-bind-address", "ip-port", "0.0.0.0:10256", "Where the health server listens; without a port, --healthz-port's.", SLUICE_KEEP(store_ip_port, config.healthz_bind_address)},
  {G::kProxy, kIgnored, kDeprecated, "healthz-port", "number", "10256", "Port for a --healthz-bind-address that has none; 0 switches the health server off.", SLUICE_STORE(healthz_port), "use --healthz-bind-address"},
  {G::kProxy, kApplies, kHonoured, "hostname-override", "name", "", "This node's name, if it is not the host's; wins over the file.", SLUICE_STORE(hostname_override)},
  {G::kProxy, kApplies, kHonoured, "init-only", "", "false", "Do what needs full privileges, then exit; a second start then needs only CAP_NET_ADMIN, and CAP_BPF and CAP_PERFMON for the engine ebpf.", SLUICE_STORE(init_only)},
  {G::kProxy, kIgnored, kHonoured, "iptables-localhost-nodeports", "", "true", "Serve node ports on 127.0.0.1 too, in mode iptables.", SLUICE_STORE(config.iptables.localhost_node_ports)},
  {G::kProxy, kIgnored, kHonoured, "iptables-masquerade-bit", "number", "14", "Bit of the packet mark that requests masquerading, in modes iptables and ipvs.", SLUICE_STORE(config.iptables.masquerade_bit)},
  {G::kProxy, kIgnored, kHonoured, "iptables-min-sync-period", "duration", "1s", "The least time between two syncs, in every mode but ipvs.", SLUICE_STORE(iptables_min_sync_period)},
  {G::kProxy, kIgnored, kHonoured, "iptables-sync-period", "duration", "30s", "How often rules are checked without any change, in every mode but ipvs.", SLUICE_STORE(iptables_sync_period)},
  {G::kProxy, kIgnored, kHonoured, "ipvs-exclude-cidrs", "cidrs", "", "Virtual servers with addresses in these CIDRs are left alone.", SLUICE_STORE(config.ipvs.exclude_cidrs)},
  {G::kProxy, kIgnored, kHonoured, "ipvs-min-sync-period", "duration", "1s", "The least time between two syncs, in mode ipvs.", SLUICE_STORE(ipvs_min_sync_period)},
  {G::kProxy, kIgnored, kHonoured, "ipvs-scheduler", "name", "", "IPVS scheduler; empty means rr.", SLUICE_STORE(config.ipvs.scheduler)},
  {G::kProxy, kIgnored, kHonoured, "ipvs-strict-arp", "", "false", "Set arp_ignore to 1 and arp_announce to 2, in mode ipvs.", SLUICE_STORE(config.ipvs.strict_arp)},
  {G::kProxy, kIgnored, kHonoured, "ipvs-sync-period", "duration", "30s", "How often rules are checked without any change, in mode ipvs.", SLUICE_STORE(ipvs_sync_period)},
  {G::kProxy, kIgnored, kHonoured, "ipvs-tcp-timeout", "duration", "0s", "IPVS timeout of idle TCP connections; 0 leaves it as it is.", SLUICE_STORE(config.ipvs.tcp_timeout)},
  {G::kProxy, kIgnored, kHonoured, "ipvs-tcpfin-timeout", "duration", "0s", "IPVS timeout of TCP connections after a FIN; 0 leaves it as it is.", SLUICE_STORE(config.ipvs.tcp_fin_timeout)},
  {G::kProxy, kIgnored, kHonoured, "ipvs-udp-timeout", "duration", "0s", "IPVS timeout of UDP flows; 0 leaves it as it is.", SLUICE_STORE(config.ipvs.udp_timeout)},
  {G::kProxy, kIgnored, kNoEffect, "kube-api-burst", "number", "10", "How many requests may go to the API server at once.", SLUICE_STORE(config.client_connection.burst), "three watches need no limit"},
  {G::kProxy, kIgnored, kNoEffect, "kube-api-content-type", "type", "application/vnd.kubernetes.protobuf", "Encoding of requests and responses.", SLUICE_STORE(config.client_connection.content_type), "requests to the API server are in JSON"},
  {G::kProxy, kIgnored, kNoEffect, "kube-api-qps", "number", "5", "Requests to the API server in a second.", SLUICE_STORE(config.client_connection.qps), "three watches need no limit"},
  {G::kProxy, kIgnored, kHonoured, "kubeconfig", "path", "", "How to reach the API server; without it and --master, as a pod does.", SLUICE_STORE(config.client_connection.kubeconfig)},
  {G::kProxy, kApplies, kNoEffect, "machine-id-file", "path", "/etc/machine-id,/var/lib/dbus/machine-id", "Accepted for kube-proxy's sake.", SLUICE_NOWHERE, "nothing here reads a machine id"},
  {G::kProxy, kIgnored, kHonoured, "masquerade-all", "", "false", "Masquerade all traffic to cluster IPs, in every mode.", SLUICE_STORE(masquerade_all)},
  {G::kProxy, kApplies, kHonoured, "master", "url", "", "The API server; wins over the one of the kubeconfig.", SLUICE_STORE(master)},
  {G::kProxy, kIgnored, kHonoured, "metrics-bind-address", "ip-port", "127.0.0.1:10249", "Where the metrics server listens; without a port, --metrics-port's.", SLUICE_KEEP(store_ip_port, config.metrics_bind_address)},
  {G::kProxy, kIgnored, kDeprecated, "metrics-port", "number", "10249", "Port for a --metrics-bind-address that has none.", SLUICE_STORE(metrics_port), "use --metrics-bind-address"},
  {G::kProxy, kIgnored, kHonoured, "nodeport-addresses", "cidrs", "", "Node ports are served on local addresses within these CIDRs, or with the word primary on the node's own; empty means on all (mode nftables: primary).", SLUICE_STORE(config.node_port_addresses)},
  {G::kProxy, kIgnored, kHonoured, "oom-score-adj", "number", "-999", "oom_score_adj of this process, -1000 to 1000.", SLUICE_STORE(config.oom_score_adj)},
  {G::kProxy, kIgnored, kHonoured, "pod-bridge-interface", "name", "", "For --detect-local-mode=BridgeInterface: what comes in here is from a pod of this node.", SLUICE_STORE(config.detect_local.bridge_interface)},
  {G::kProxy, kIgnored, kHonoured, "pod-interface-name-prefix", "prefix", "", "For --detect-local-mode=InterfaceNamePrefix: what comes in on an interface with such a name is from a pod of this node.", SLUICE_STORE(config.detect_local.interface_name_prefix)},
  {G::kProxy, kIgnored, kHonoured, "profiling", "", "false", "Serve /debug on the metrics address.", SLUICE_STORE(config.enable_profiling)},
  {G::kProxy, kIgnored, kHonoured, "proxy-mode", "mode", "", "iptables (also when empty), ipvs or nftables.", SLUICE_STORE(config.mode)},
  {G::kProxy, kIgnored, kNoEffect, "show-hidden-metrics-for-version", "version", "", "The previous minor version, or nothing.", SLUICE_STORE(config.show_hidden_metrics_for_version), "no metric is hidden"},
  {G::kProxy, kApplies, kHonoured, "version", "form", "false", "Print the version and exit; =raw prints all that is known of it.", &store_version, &show<SLUICE_IN(version)>},
  {G::kProxy, kApplies, kHonoured, "write-config-to", "path", "", "Write the completed configuration to this file and exit.", SLUICE_STORE(write_config_to)},

  {G::kLogging, kApplies, kNoEffect, "log-flush-frequency", "duration", "5s", "How long log lines may wait.", SLUICE_STORE(config.logging.flush_frequency), "each line is written at once"},
  {G::kLogging, kApplies, kNoEffect, "log-json-info-buffer-size", "quantity", "0", "Buffer of info lines in JSON form (alpha).", SLUICE_STORE(config.logging.options.json.info_buffer_size), "each line is written at once"},
  {G::kLogging, kApplies, kNoEffect, "log-json-split-stream", "", "false", "Info lines in JSON form to standard output (alpha).", SLUICE_STORE(config.logging.options.json.split_stream), "every line goes to standard error"},
  {G::kLogging, kApplies, kNoEffect, "log-text-info-buffer-size", "quantity", "0", "Buffer of info lines in text form (alpha).", SLUICE_STORE(config.logging.options.text.info_buffer_size), "each line is written at once"},
  {G::kLogging, kApplies, kNoEffect, "log-text-split-stream", "", "false", "Info lines in text form to standard output (alpha).", SLUICE_STORE(config.logging.options.text.split_stream), "every line goes to standard error"},
  {G::kLogging, kApplies, kHonoured, "logging-format", "form", "text", "text (klog's form) or json; wins over the file.", SLUICE_STORE(config.logging.format)},
  {G::kLogging, kApplies, kHonoured, "v", "number", "0", "How much to log; also -v. Wins over the file.", SLUICE_STORE(config.logging.verbosity)},
  {G::kLogging, kApplies, kNoEffect, "vmodule", "patterns", "", "pattern=N, with commas: verbosity by source file.", SLUICE_STORE(config.logging.vmodule), "the source files here have other names; use --v"},

  {G::kOther, kApplies, kNoEffect, "add-dir-header", "", "false", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kApplies, kNoEffect, "alsologtostderr", "", "false", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kApplies, kNoEffect, "cleanup-ipvs", "", "true", "Of 1.20.", SLUICE_NOWHERE, "--cleanup removes the rules of all modes"},
  {G::kOther, kApplies, kNoEffect, "log-backtrace-at", "place", ":0", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kApplies, kNoEffect, "log-dir", "path", "", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kApplies, kNoEffect, "log-file", "path", "", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kApplies, kNoEffect, "log-file-max-size", "number", "1800", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kApplies, kNoEffect, "logtostderr", "", "true", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kApplies, kNoEffect, "one-output", "", "false", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kIgnored, kNoEffect, "proxy-port-range", "range", "", "Of mode userspace.", SLUICE_STORE(config.port_range), "only mode userspace had ports of its own"},
  {G::kOther, kApplies, kNoEffect, "skip-headers", "", "false", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kApplies, kNoEffect, "skip-log-headers", "", "false", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kApplies, kNoEffect, "stderrthreshold", "level", "2", "Of klog.", SLUICE_NOWHERE, kKlog},
  {G::kOther, kIgnored, kNoEffect, "udp-timeout", "duration", "250ms", "Of mode userspace.", SLUICE_NOWHERE, "only mode userspace had sockets of its own"},
  {G::kOther, kApplies, kNoEffect, "windows-service", "", "false", "Of Windows.", SLUICE_STORE(config.windows_run_as_service), "this is not Windows"},
};
// clang-format on
#undef SLUICE_NOWHERE
#undef SLUICE_STORE
#undef SLUICE_KEEP
#undef SLUICE_IN

}  // namespace

std::span<const FlagSpec> flag_table() {
  return kTable;
}

const FlagSpec* find_flag(std::string_view name) {
  const auto* found =
      std::find_if(std::begin(kTable), std::end(kTable), [name](const FlagSpec& flag) { return flag.name == name; });
  return found == std::end(kTable) ? nullptr : found;
}

}  // namespace sluice::config
