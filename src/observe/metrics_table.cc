// SPDX-License-Identifier: Apache-2.0
// The table. A metric of kube-proxy keeps its name, type, labels and buckets to the letter; its help text is ours,
// after the word with which Kubernetes marks how stable a metric is. Metrics of other proxy modes (nftables) are not
// declared: they would be empty.
#include "observe/metrics_table.h"

namespace sluice::observe {
namespace {

using enum MetricId;
using enum MetricType;
using enum MetricBuckets;

// clang-format off
constexpr std::array<MetricDeclaration, kMetricCount> kTable{{
    {kSyncDuration, "kubeproxy_sync_proxy_rules_duration_seconds", kHistogram,
     "[ALPHA] Time that a sync of the rules took, in seconds", {"ip_family"}, kExponential},
    {kSyncFullDuration, "kubeproxy_sync_full_proxy_rules_duration_seconds", kHistogram,
     "[ALPHA] Time that a sync of all rules took, in seconds", {"ip_family"}, kExponential},
    {kSyncPartialDuration, "kubeproxy_sync_partial_proxy_rules_duration_seconds", kHistogram,
     "[ALPHA] Time that a sync of only the changed rules took, in seconds", {"ip_family"}, kExponential},
    {kSyncLastTimestamp, "kubeproxy_sync_proxy_rules_last_timestamp_seconds", kGauge,
     "[ALPHA] When the rules were last synced, in seconds since 1970", {"ip_family"}},
    {kSyncLastQueuedTimestamp, "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", kGauge,
     "[ALPHA] When a sync of the rules was last asked for, in seconds since 1970", {"ip_family"}},
    {kNetworkProgrammingDuration, "kubeproxy_network_programming_duration_seconds", kHistogram,
     "[ALPHA] Time from a change of endpoints in the cluster until this node forwards by it, in seconds", {"ip_family"}, kProgramming},
    {kEndpointChangesPending, "kubeproxy_sync_proxy_rules_endpoint_changes_pending", kGauge,
     "[ALPHA] Changes of endpoints that wait for a sync"},
    {kEndpointChanges, "kubeproxy_sync_proxy_rules_endpoint_changes_total", kCounter, "[ALPHA] Changes of endpoints heard of"},
    {kServiceChangesPending, "kubeproxy_sync_proxy_rules_service_changes_pending", kGauge,
     "[ALPHA] Changed Services that wait for a sync"},
    {kServiceChanges, "kubeproxy_sync_proxy_rules_service_changes_total", kCounter, "[ALPHA] Changes of Services heard of"},
    {kNoLocalEndpoints, "kubeproxy_sync_proxy_rules_no_local_endpoints_total", kGauge,
     "[ALPHA] Ports of Services with traffic policy Local that have endpoints, but none on this node", {"ip_family", "traffic_policy"}},
    {kHealthz, "kubeproxy_proxy_healthz_total", kCounter, "[ALPHA] Answers of /healthz", {"code"}},
    {kLivez, "kubeproxy_proxy_livez_total", kCounter, "[ALPHA] Answers of /livez", {"code"}},
    {kRestoreFailures, "kubeproxy_sync_proxy_rules_iptables_restore_failures_total", kCounter,
     "[ALPHA] Runs of iptables-restore that failed", {"ip_family"}},
    {kPartialRestoreFailures, "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total", kCounter,
     "[ALPHA] Runs of iptables-restore with only the changed rules that failed", {"ip_family"}},
    {kRulesTotal, "kubeproxy_sync_proxy_rules_iptables_total", kGauge, "[ALPHA] iptables rules that the proxy owns",
     {"ip_family", "table"}},
    {kRulesLast, "kubeproxy_sync_proxy_rules_iptables_last", kGauge, "[ALPHA] iptables rules that the last sync wrote",
     {"ip_family", "table"}},
    {kInvalidDroppedPackets, "kubeproxy_iptables_ct_state_invalid_dropped_packets_total", kCounter,
     "[ALPHA] Packets dropped because conntrack could not tell their connection", {}, kNone, true},
    {kLocalhostNodePortPackets, "kubeproxy_iptables_localhost_nodeports_accepted_packets_total", kCounter,
     "[ALPHA] Packets accepted for node ports on a loopback address", {}, kNone, true},
    {kConntrackSyncDuration, "kubeproxy_conntrack_reconciler_sync_duration_seconds", kHistogram,
     "[ALPHA] Time that a search for stale conntrack entries took, in seconds", {"ip_family"}, kExponential},
    {kConntrackDeleted, "kubeproxy_conntrack_reconciler_deleted_entries_total", kCounter, "[ALPHA] Stale conntrack entries deleted",
     {"ip_family"}},
    {kRestRequests, "rest_client_requests_total", kCounter, "[ALPHA] Requests to the API server", {"code", "host", "method"}},
    {kBuildInfo, "sluice_build_info", kGauge, "1, labelled with the version of this program", {"version"}},
    {kObjectsRefused, "sluice_objects_refused_total", kCounter, "Objects from the API server that could not be used", {"kind"}},
    {kDriftRepairs, "sluice_drift_repairs_total", kCounter, "Changes that others made to our rules and that were undone", {"ip_family"}},
    {kRefusedAddresses, "sluice_refused_addresses", kGauge, "Addresses of Services that are not served, to protect the node", {"ip_family"}},
    {kProcessCpu, "process_cpu_seconds_total", kCounter, "Time spent in user and system mode, in seconds", {}, kNone, true},
    {kProcessMaxFds, "process_max_fds", kGauge, "How many file descriptors may be open", {}, kNone, true},
    {kProcessOpenFds, "process_open_fds", kGauge, "How many file descriptors are open", {}, kNone, true},
    {kProcessResidentMemory, "process_resident_memory_bytes", kGauge, "Memory held in RAM, in bytes", {}, kNone, true},
    {kProcessStartTime, "process_start_time_seconds", kGauge, "When the process started, in seconds since 1970", {}, kNone, true},
    {kProcessVirtualMemory, "process_virtual_memory_bytes", kGauge, "Address space mapped, in bytes", {}, kNone, true},
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
