// SPDX-License-Identifier: Apache-2.0
// The names of the configuration's fields, defined once: the reader, the writers and the tests all iterate over these
// lists. Private to this folder. In alphabetical order, which is the order in a written
// file.
#pragma once

#include <string_view>
#include <tuple>

#include "config/config.h"

namespace sluice::config {

template <typename Struct, typename Member>
struct FieldOf {
  std::string_view name;
  Member Struct::* member;
  bool omit_empty = false;  // not printed while it is false or has no elements
};

template <typename Struct, typename Member>
constexpr FieldOf<Struct, Member> field(std::string_view name, Member Struct::* member, bool omit_empty = false) {
  return {name, member, omit_empty};
}

template <typename T>
struct Of {};  // a type as an argument

constexpr auto fields_of(Of<ClientConnection>) {
  using C = ClientConnection;
  return std::tuple{field("acceptContentTypes", &C::accept_content_types), field("burst", &C::burst),
                    field("contentType", &C::content_type), field("kubeconfig", &C::kubeconfig), field("qps", &C::qps)};
}

constexpr auto fields_of(Of<VerbosityPattern>) {
  using C = VerbosityPattern;
  return std::tuple{field("filePattern", &C::file_pattern), field("verbosity", &C::verbosity)};
}

constexpr auto fields_of(Of<LogStreams>) {
  using C = LogStreams;
  return std::tuple{field("infoBufferSize", &C::info_buffer_size), field("splitStream", &C::split_stream, true)};
}

constexpr auto fields_of(Of<LoggingOptions>) {
  using C = LoggingOptions;
  return std::tuple{field("json", &C::json), field("text", &C::text)};
}

constexpr auto fields_of(Of<Logging>) {
  using C = Logging;
  return std::tuple{field("flushFrequency", &C::flush_frequency), field("format", &C::format),
                    field("options", &C::options), field("verbosity", &C::verbosity),
                    field("vmodule", &C::vmodule, true)};
}

constexpr auto fields_of(Of<IptablesConfig>) {
  using C = IptablesConfig;
  return std::tuple{field("localhostNodePorts", &C::localhost_node_ports), field("masqueradeAll", &C::masquerade_all),
                    field("masqueradeBit", &C::masquerade_bit), field("minSyncPeriod", &C::min_sync_period),
                    field("syncPeriod", &C::sync_period)};
}

constexpr auto fields_of(Of<IpvsConfig>) {
  using C = IpvsConfig;
  return std::tuple{field("excludeCIDRs", &C::exclude_cidrs), field("minSyncPeriod", &C::min_sync_period),
                    field("scheduler", &C::scheduler),        field("strictARP", &C::strict_arp),
                    field("syncPeriod", &C::sync_period),     field("tcpFinTimeout", &C::tcp_fin_timeout),
                    field("tcpTimeout", &C::tcp_timeout),     field("udpTimeout", &C::udp_timeout)};
}

constexpr auto fields_of(Of<NftablesConfig>) {
  using C = NftablesConfig;
  return std::tuple{field("masqueradeAll", &C::masquerade_all), field("masqueradeBit", &C::masquerade_bit),
                    field("minSyncPeriod", &C::min_sync_period), field("syncPeriod", &C::sync_period)};
}

constexpr auto fields_of(Of<WinkernelConfig>) {
  using C = WinkernelConfig;
  return std::tuple{field("enableDSR", &C::enable_dsr), field("forwardHealthCheckVip", &C::forward_health_check_vip),
                    field("networkName", &C::network_name), field("rootHnsEndpointName", &C::root_hns_endpoint_name),
                    field("sourceVip", &C::source_vip)};
}

constexpr auto fields_of(Of<DetectLocal>) {
  using C = DetectLocal;
  return std::tuple{field("bridgeInterface", &C::bridge_interface),
                    field("interfaceNamePrefix", &C::interface_name_prefix)};
}

constexpr auto fields_of(Of<ConntrackConfig>) {
  using C = ConntrackConfig;
  return std::tuple{field("maxPerCore", &C::max_per_core),
                    field("min", &C::min),
                    field("tcpBeLiberal", &C::tcp_be_liberal),
                    field("tcpCloseWaitTimeout", &C::tcp_close_wait_timeout),
                    field("tcpEstablishedTimeout", &C::tcp_established_timeout),
                    field("udpStreamTimeout", &C::udp_stream_timeout),
                    field("udpTimeout", &C::udp_timeout)};
}

constexpr auto fields_of(Of<ProxyConfig>) {
  using C = ProxyConfig;
  return std::tuple{field("bindAddress", &C::bind_address),
                    field("bindAddressHardFail", &C::bind_address_hard_fail),
                    field("clientConnection", &C::client_connection),
                    field("clusterCIDR", &C::cluster_cidr),
                    field("configSyncPeriod", &C::config_sync_period),
                    field("conntrack", &C::conntrack),
                    field("detectLocal", &C::detect_local),
                    field("detectLocalMode", &C::detect_local_mode),
                    field("enableProfiling", &C::enable_profiling),
                    field("featureGates", &C::feature_gates, true),
                    field("healthzBindAddress", &C::healthz_bind_address),
                    field("hostnameOverride", &C::hostname_override),
                    field("iptables", &C::iptables),
                    field("ipvs", &C::ipvs),
                    field("logging", &C::logging),
                    field("metricsBindAddress", &C::metrics_bind_address),
                    field("mode", &C::mode),
                    field("nftables", &C::nftables),
                    field("nodePortAddresses", &C::node_port_addresses),
                    field("oomScoreAdj", &C::oom_score_adj),
                    field("portRange", &C::port_range),
                    field("showHiddenMetricsForVersion", &C::show_hidden_metrics_for_version),
                    field("windowsRunAsService", &C::windows_run_as_service, true),
                    field("winkernel", &C::winkernel)};
}

constexpr auto fields_of(Of<SluiceConfig::Iptables>) {
  return std::tuple{field("flavour", &SluiceConfig::Iptables::flavour)};
}

constexpr auto fields_of(Of<SluiceConfig::Ipvs>) {
  using C = SluiceConfig::Ipvs;
  return std::tuple{field("drainTimeout", &C::drain_timeout), field("engine", &C::engine)};
}

constexpr auto fields_of(Of<SluiceConfig>) {
  using C = SluiceConfig;
  return std::tuple{field("dataDir", &C::data_dir), field("driftRepair", &C::drift_repair),
                    field("iptables", &C::iptables), field("ipvs", &C::ipvs), field("manifests", &C::manifests)};
}

// A struct whose fields are listed above.
template <typename T>
concept Described = requires { fields_of(Of<T>{}); };

// Calls visit(field) for each of T's fields.
template <Described T, typename Visit>
constexpr void for_each_field(Visit&& visit) {
  std::apply([&visit](const auto&... each) { (visit(each), ...); }, fields_of(Of<T>{}));
}

}  // namespace sluice::config
