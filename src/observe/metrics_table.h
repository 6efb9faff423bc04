// SPDX-License-Identifier: Apache-2.0
// Every metric that we expose, declared once: what metrics.cc registers, what its test checks the output against, and
// what a manual can print. Those of kubeproxy_* are kube-proxy's (pkg/proxy/metrics of 1.36), because
// dashboards key on them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sluice::observe {

enum class MetricId : std::uint8_t {
  kSyncDuration,
  kSyncFullDuration,
  kSyncPartialDuration,
  kSyncLastTimestamp,
  kSyncLastQueuedTimestamp,
  kNetworkProgrammingDuration,
  kEndpointChangesPending,
  kEndpointChanges,
  kServiceChangesPending,
  kServiceChanges,
  kNoLocalEndpoints,
  kHealthz,
  kLivez,
  kRestoreFailures,
  kPartialRestoreFailures,
  kRulesTotal,
  kRulesLast,
  kNftablesSyncFailures,
  kNftablesCleanupFailures,
  kInvalidDroppedPackets,
  kLocalhostNodePortPackets,
  kConntrackSyncDuration,
  kConntrackDeleted,
  kRestRequests,
  kBuildInfo,
  kObjectsRefused,
  kDriftRepairs,
  kRefusedAddresses,
  kUnmetRequests,
  kRefusedServicePorts,
  kUnremovedObjects,
  kIpvsSyncFailures,
  kIpvsHelperRules,
  kIpvsDroppedPackets,
  kProcessCpu,
  kProcessMaxFds,
  kProcessNetworkReceived,
  kProcessNetworkSent,
  kProcessOpenFds,
  kProcessResidentMemory,
  kProcessStartTime,
  kProcessVirtualMemory,
  kProcessVirtualMemoryMax,
};
inline constexpr std::size_t kMetricCount = static_cast<std::size_t>(MetricId::kProcessVirtualMemoryMax) + 1;

enum class MetricType : std::uint8_t { kCounter, kGauge, kHistogram };
// kExponential: 0.001 s doubling to 16.384 s. kProgramming: fine up to a minute, where users feel it, coarse up to
// five.
enum class MetricBuckets : std::uint8_t { kNone, kExponential, kProgramming };

struct MetricDeclaration {
  MetricId id;
  std::string_view name;
  MetricType type;
  std::string_view help;
  std::array<std::string_view, 3> labels{};  // unused ones are empty
  MetricBuckets buckets = MetricBuckets::kNone;
  bool read_when_asked = false;  // its value lives elsewhere (/proc, the kernel) and is not recorded
};

// In the order of MetricId.
std::span<const MetricDeclaration, kMetricCount> metric_table();
const MetricDeclaration& declaration_of(MetricId id);
// The upper bounds, without +Inf.
std::vector<double> bounds_of(MetricBuckets buckets);

}  // namespace sluice::observe
