// SPDX-License-Identifier: Apache-2.0
// The table. A metric of kube-proxy keeps its name, type, labels, buckets and help exactly, as do process_* of
// every Prometheus client: Prometheus complains about a metric whose help differs between the nodes that it scrapes,
// and nodes are switched over one by one. "[ALPHA]" is Kubernetes' mark for a metric's stability. A mode's own
// metrics appear where it serves.
#include "observe/metrics_table.h"

namespace sluice::observe {
namespace {

using enum MetricId;
using enum MetricType;
using enum MetricBuckets;

// clang-format off
constexpr std::array<MetricDeclaration, kMetricCount> kTable{{
    {kSyncDuration, "kubeproxy_sync_proxy_rules_duration_seconds", kHistogram,
     "[ALPHA] SyncProxyRules latency in seconds", {"ip_family"}, kExponential},
    {kSyncFullDuration, "kubeproxy_sync_full_proxy_rules_duration_seconds", kHistogram,
     "[ALPHA] SyncProxyRules latency in seconds for full resyncs", {"ip_family"}, kExponential},
    {kSyncPartialDuration, "kubeproxy_sync_partial_proxy_rules_duration_seconds", kHistogram,
     "[ALPHA] SyncProxyRules latency in seconds for partial resyncs", {"ip_family"}, kExponential},
    {kSyncLastTimestamp, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", kGauge,
     "[ALPHA] The last time proxy rules were successfully synced", {"ip_family"}},
    {kSyncLastQueuedTimestamp, "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", kGauge,
     "[ALPHA] The last time a sync of proxy rules was queued", {"ip_family"}},
    {kNetworkProgrammingDuration, "kubeproxy_network_programming_duration_seconds", kHistogram,
     "[ALPHA] In Cluster Network Programming Latency in seconds", {"ip_family"}, kProgramming},
    {kEndpointChangesPending, "kubeproxy_sync_proxy_rules_endpoint_changes_pending", kGauge,
     "[ALPHA] Pending proxy rules Endpoint changes"},
    {kEndpointChanges, "kubeproxy_sync_proxy_rules_endpoint_changes_total", kCounter, "[ALPHA] Cumulative proxy rules Endpoint changes"},
    {kServiceChangesPending, "kubeproxy_sync_proxy_rules_service_changes_pending", kGauge,
     "[ALPHA] Pending proxy rules Service changes"},
    {kServiceChanges, "kubeproxy_sync_proxy_rules_service_changes_total", kCounter, "[ALPHA] Cumulative proxy rules Service changes"},
    {kNoLocalEndpoints, "kubeproxy_sync_proxy_rules_no_local_endpoints_total", kGauge,
     "[ALPHA] Number of services with a Local traffic policy and no endpoints", {"ip_family", "traffic_policy"}},
    {kHealthz, "kubeproxy_proxy_healthz_total", kCounter, "[ALPHA] Cumulative proxy healthz HTTP status", {"code"}},
    {kLivez, "kubeproxy_proxy_livez_total", kCounter, "[ALPHA] Cumulative proxy livez HTTP status", {"code"}},
    {kRestoreFailures, "kubeproxy_sync_proxy_rules_iptables_restore_failures_total", kCounter,
     "[ALPHA] Cumulative proxy iptables restore failures", {"ip_family"}},
    {kPartialRestoreFailures, "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total", kCounter,
     "[ALPHA] Cumulative proxy iptables partial restore failures", {"ip_family"}},
    {kRulesTotal, "kubeproxy_sync_proxy_rules_iptables_total", kGauge, "[ALPHA] Total number of iptables rules owned by kube-proxy",
     {"ip_family", "table"}},
    {kRulesLast, "kubeproxy_sync_proxy_rules_iptables_last", kGauge, "[ALPHA] Number of iptables rules written by kube-proxy in last sync",
     {"ip_family", "table"}},
    {kNftablesSyncFailures, "kubeproxy_sync_proxy_rules_nftables_sync_failures_total", kCounter,
     "[ALPHA] Cumulative proxy nftables sync failures", {"ip_family"}},
    {kNftablesCleanupFailures, "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total", kCounter,
     "[ALPHA] Cumulative proxy nftables cleanup failures", {"ip_family"}},
    {kInvalidDroppedPackets, "kubeproxy_iptables_ct_state_invalid_dropped_packets_total", kCounter,
     "[ALPHA] packets dropped by iptables to work around conntrack problems", {}, kNone, true},
    {kLocalhostNodePortPackets, "kubeproxy_iptables_localhost_nodeports_accepted_packets_total", kCounter,
     "[ALPHA] Number of packets accepted on nodeports of loopback interface", {}, kNone, true},
    {kConntrackSyncDuration, "kubeproxy_conntrack_reconciler_sync_duration_seconds", kHistogram,
     "[ALPHA] ReconcileConntrackFlowsLatency latency in seconds", {"ip_family"}, kExponential},
    {kConntrackDeleted, "kubeproxy_conntrack_reconciler_deleted_entries_total", kCounter, "[ALPHA] Cumulative conntrack flows deleted by conntrack reconciler",
     {"ip_family"}},
    {kRestRequests, "rest_client_requests_total", kCounter, "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.", {"code", "host", "method"}},
    {kBuildInfo, "sluice_build_info", kGauge, "1, labelled with the version of this program", {"version"}},
    {kObjectsRefused, "sluice_objects_refused_total", kCounter, "Objects from the API server that could not be used", {"kind"}},
    {kDriftRepairs, "sluice_drift_repairs_total", kCounter, "Changes that others made to our rules and that were undone", {"ip_family"}},
    {kRefusedAddresses, "sluice_refused_addresses", kGauge, "Addresses and node ports of Services that are not served: unfit, an older Service's, or the node's own", {"ip_family"}},
    {kUnmetRequests, "sluice_unmet_requests", kGauge, "Requests by annotation that the mode cannot meet; the Services are served without", {"ip_family"}},
    {kRefusedServicePorts, "sluice_refused_service_ports", kGauge, "Ports of Services that the kernel refuses, wholly or in part", {"ip_family"}},
    {kUnremovedObjects, "sluice_unremoved_objects", kGauge, "Objects of ours that are no longer wanted and that the kernel does not release", {"ip_family"}},
    {kIpvsSyncFailures, "sluice_ipvs_sync_failures_total", kCounter, "Syncs in mode ipvs that failed", {"ip_family"}},
    {kIpvsHelperRules, "sluice_ipvs_helper_rules", kGauge, "nftables rules beside the virtual servers of mode ipvs", {"ip_family"}},
    {kIpvsDroppedPackets, "sluice_ipvs_dropped_packets_total", kCounter, "Packets that the programs of mode ipvs' engine ebpf dropped, by reason", {"reason"}},
    {kProcessCpu, "process_cpu_seconds_total", kCounter, "Total user and system CPU time spent in seconds.", {}, kNone, true},
    {kProcessMaxFds, "process_max_fds", kGauge, "Maximum number of open file descriptors.", {}, kNone, true},
    {kProcessNetworkReceived, "process_network_receive_bytes_total", kCounter,
     "Number of bytes received by the process over the network.", {}, kNone, true},
    {kProcessNetworkSent, "process_network_transmit_bytes_total", kCounter,
     "Number of bytes sent by the process over the network.", {}, kNone, true},
    {kProcessOpenFds, "process_open_fds", kGauge, "Number of open file descriptors.", {}, kNone, true},
    {kProcessResidentMemory, "process_resident_memory_bytes", kGauge, "Resident memory size in bytes.", {}, kNone, true},
    {kProcessStartTime, "process_start_time_seconds", kGauge, "Start time of the process since unix epoch in seconds.", {}, kNone, true},
    {kProcessVirtualMemory, "process_virtual_memory_bytes", kGauge, "Virtual memory size in bytes.", {}, kNone, true},
    {kProcessVirtualMemoryMax, "process_virtual_memory_max_bytes", kGauge,
     "Maximum amount of virtual memory available in bytes.", {}, kNone, true},
}};
// clang-format on

constexpr bool in_order_of_ids() {
  for (std::size_t i = 0; i < kMetricCount; ++i) {
    if (static_cast<std::size_t>(kTable[i].id) != i) return false;
  }
  return true;
}
static_assert(in_order_of_ids(), "declaration_of() takes a MetricId for a row number");

}  // namespace

std::span<const MetricDeclaration, kMetricCount> metric_table() {
  return kTable;
}

const MetricDeclaration& declaration_of(MetricId id) {
  return kTable[static_cast<std::size_t>(id)];
}

std::vector<double> bounds_of(MetricBuckets buckets) {
  std::vector<double> bounds;
  switch (buckets) {
    case kNone:
      break;
    case kExponential:
      for (int k = 0; k < 15; ++k) bounds.push_back(0.001 * (1 << k));
      break;
    case kProgramming:
      bounds = {0, 0.25, 0.5};
      for (int s = 1; s <= 59; ++s) bounds.push_back(s);
      for (int s = 60; s <= 115; s += 5) bounds.push_back(s);
      for (int s = 120; s <= 300; s += 30) bounds.push_back(s);
      break;
  }
  return bounds;
}

}  // namespace sluice::observe
