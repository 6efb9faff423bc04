// SPDX-License-Identifier: Apache-2.0
// Metrics are numbers that grow (counters), numbers that vary (gauges) and durations sorted into buckets (histograms);
// Prometheus reads them all as one text, every half minute or so. prometheus-cpp keeps the numbers and writes the text;
// all metrics are declared in metrics_table.cc. As with Prometheus' own client, a metric with labels appears with its
// first value and one without from the start; those of a served family exist from its start on. What the kernel
// counts for us is read on request.
#include "observe/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <initializer_list>
#include <map>
#include <optional>

#include "base/mutex.h"
#include "observe/metrics_table.h"
#include "observe/process_stats.h"

namespace sluice::observe {
namespace {

double unix_seconds(Clock::WallTime time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

std::size_t index_of(MetricId id) {
  return static_cast<std::size_t>(id);
}

// `values` in the order of the table's label names.
prometheus::Labels labels_of(MetricId id, std::initializer_list<std::string_view> values) {
  prometheus::Labels labels;
  const std::string_view* name = declaration_of(id).labels.data();
  for (const std::string_view value : values) labels.emplace(*name++, value);
  return labels;
}

prometheus::MetricFamily single_value(MetricId id, double value) {
  const MetricDeclaration& row = declaration_of(id);
  const bool counter = row.type == MetricType::kCounter;
  prometheus::ClientMetric metric;
  (counter ? metric.counter.value : metric.gauge.value) = value;
  return {std::string(row.name),
          std::string(row.help),
          counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge,
          {std::move(metric)}};
}

void append_process_stats(std::vector<prometheus::MetricFamily>& out) {
  const auto stats = read_process_stats();
  if (!stats) return;
  out.push_back(single_value(MetricId::kProcessCpu, stats->cpu_seconds));
  out.push_back(single_value(MetricId::kProcessMaxFds, stats->max_fds));
  if (const auto& network = stats->network) {
    out.push_back(single_value(MetricId::kProcessNetworkReceived, network->received_bytes));
    out.push_back(single_value(MetricId::kProcessNetworkSent, network->sent_bytes));
  }
  out.push_back(single_value(MetricId::kProcessOpenFds, stats->open_fds));
  out.push_back(single_value(MetricId::kProcessResidentMemory, stats->resident_bytes));
  out.push_back(single_value(MetricId::kProcessStartTime, stats->start_time_seconds));
  out.push_back(single_value(MetricId::kProcessVirtualMemory, stats->virtual_bytes));
  out.push_back(single_value(MetricId::kProcessVirtualMemoryMax, stats->virtual_bytes_max));
}

// The metrics that a mode has for itself, by kube-proxy's names where it has them. Unset: the mode has no such metric.
struct ModeMetrics {
  std::string_view mode;
  MetricId failures;
  std::optional<MetricId> partial_failures{};
  std::optional<MetricId> full_duration{};
  std::optional<MetricId> partial_duration{};
  std::optional<MetricId> rules{};
  std::optional<MetricId> rules_by_table{};
  std::optional<MetricId> rules_written_by_table{};
  std::optional<MetricId> dropped_packets{};
  std::optional<MetricId> cleanup_failures{};
};

constexpr std::array kModes{
    ModeMetrics{.mode = "iptables",
                .failures = MetricId::kRestoreFailures,
                .partial_failures = MetricId::kPartialRestoreFailures,
                .full_duration = MetricId::kSyncFullDuration,
                .partial_duration = MetricId::kSyncPartialDuration,
                .rules_by_table = MetricId::kRulesTotal,
                .rules_written_by_table = MetricId::kRulesLast},
    ModeMetrics{.mode = "ipvs",
                .failures = MetricId::kIpvsSyncFailures,
                .rules = MetricId::kIpvsHelperRules,
                .dropped_packets = MetricId::kIpvsDroppedPackets},
    ModeMetrics{.mode = "nftables",
                .failures = MetricId::kNftablesSyncFailures,
                .cleanup_failures = MetricId::kNftablesCleanupFailures},
};

// Null for a mode that has none, such as a test's.
const ModeMetrics* metrics_of(std::string_view mode) {
  const auto* found = std::ranges::find(kModes, mode, &ModeMetrics::mode);
  return found == kModes.end() ? nullptr : found;
}

}  // namespace

struct Metrics::Impl {
  using Counters = prometheus::Family<prometheus::Counter>;
  using Gauges = prometheus::Family<prometheus::Gauge>;
  using Histograms = prometheus::Family<prometheus::Histogram>;

  prometheus::Registry registry;  // owns the objects in the tables below; together they have every row of the table
  std::array<Counters*, kMetricCount> counters{};
  std::array<Gauges*, kMetricCount> gauges{};
  std::array<Histograms*, kMetricCount> histograms{};
  // The library rebuilds all buckets for each lookup, and endpoints change by the thousand: cache the results.
  std::array<std::array<std::atomic<prometheus::Histogram*>, 2>, kMetricCount> found{};
  mutable Mutex mutex;
  std::function<PacketCounters()> packet_counters SLUICE_GUARDED_BY(mutex);
  std::map<std::string, std::uint64_t> dropped SLUICE_GUARDED_BY(mutex);  // as of the last report, by reason

  Impl() {
    for (const MetricDeclaration& row : metric_table()) {
      if (!row.read_when_asked) declare(row);
    }
    gauge(MetricId::kBuildInfo, {SLUICE_VERSION}).Set(1);
  }

  void declare(const MetricDeclaration& row) {
    const std::size_t i = index_of(row.id);
    const bool labelled = !row.labels[0].empty();
    const std::string name(row.name);
    const std::string help(row.help);
    switch (row.type) {
      case MetricType::kCounter:
        counters[i] = &prometheus::BuildCounter().Name(name).Help(help).Register(registry);
        if (!labelled) counters[i]->Add({});
        break;
      case MetricType::kGauge:
        gauges[i] = &prometheus::BuildGauge().Name(name).Help(help).Register(registry);
        if (!labelled) gauges[i]->Add({});
        break;
      case MetricType::kHistogram:
        histograms[i] = &prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
        break;
    }
  }

  prometheus::Counter& counter(MetricId id, std::initializer_list<std::string_view> values = {}) {
    return counters[index_of(id)]->Add(labels_of(id, values));
  }
  prometheus::Gauge& gauge(MetricId id, std::initializer_list<std::string_view> values = {}) {
    return gauges[index_of(id)]->Add(labels_of(id, values));
  }
  prometheus::Histogram& histogram(MetricId id, Family family) {
    auto& known = found[index_of(id)][static_cast<std::size_t>(family)];
    if (prometheus::Histogram* histogram = known.load(std::memory_order_acquire)) return *histogram;
    // Two threads may get here at once; the library returns the same one to both.
    prometheus::Histogram& added =
        histograms[index_of(id)]->Add(labels_of(id, {to_string(family)}), bounds_of(declaration_of(id).buckets));
    known.store(&added, std::memory_order_release);
    return added;
  }

  void append_packet_counters(std::vector<prometheus::MetricFamily>& out) const {
    const MutexLock lock(mutex);
    if (!packet_counters) return;
    const PacketCounters values = packet_counters();
    const auto append = [&out](MetricId id, const std::optional<std::uint64_t>& value) {
      if (value) out.push_back(single_value(id, static_cast<double>(*value)));
    };
    append(MetricId::kInvalidDroppedPackets, values.ct_state_invalid_dropped);
    append(MetricId::kLocalhostNodePortPackets, values.localhost_nodeports_accepted);
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

void Metrics::expect(Family family, std::string_view mode) {
  for (const MetricId id :
       {MetricId::kSyncDuration, MetricId::kNetworkProgrammingDuration, MetricId::kConntrackSyncDuration})
    impl_->histogram(id, family);
  for (const MetricId id : {MetricId::kConntrackDeleted, MetricId::kDriftRepairs})
    impl_->counter(id, {to_string(family)});
  const ModeMetrics* own = metrics_of(mode);
  if (own == nullptr) return;
  impl_->counter(own->failures, {to_string(family)});
  if (own->partial_failures) impl_->counter(*own->partial_failures, {to_string(family)});
  for (const std::optional<MetricId>& id : {own->full_duration, own->partial_duration}) {
    if (id) impl_->histogram(*id, family);
  }
}

void Metrics::observe_sync(Family family, std::string_view mode, bool full, double seconds) {
  impl_->histogram(MetricId::kSyncDuration, family).Observe(seconds);
  const ModeMetrics* own = metrics_of(mode);
  if (own == nullptr) return;
  const std::optional<MetricId>& id = full ? own->full_duration : own->partial_duration;
  if (id) impl_->histogram(*id, family).Observe(seconds);
}

void Metrics::set_sync_succeeded(Family family, Clock::WallTime when) {
  impl_->gauge(MetricId::kSyncLastTimestamp, {to_string(family)}).Set(unix_seconds(when));
}

void Metrics::set_sync_queued(Family family, Clock::WallTime when) {
  impl_->gauge(MetricId::kSyncLastQueuedTimestamp, {to_string(family)}).Set(unix_seconds(when));
}

void Metrics::observe_network_programming(Family family, double seconds) {
  impl_->histogram(MetricId::kNetworkProgrammingDuration, family).Observe(seconds);
}

void Metrics::add_service_changes(std::size_t count) {
  impl_->counter(MetricId::kServiceChanges).Increment(static_cast<double>(count));
}

void Metrics::set_service_changes_pending(std::size_t count) {
  impl_->gauge(MetricId::kServiceChangesPending).Set(static_cast<double>(count));
}

void Metrics::add_endpoint_changes(std::size_t count) {
  impl_->counter(MetricId::kEndpointChanges).Increment(static_cast<double>(count));
}

void Metrics::set_endpoint_changes_pending(std::size_t count) {
  impl_->gauge(MetricId::kEndpointChangesPending).Set(static_cast<double>(count));
}

void Metrics::set_no_local_endpoints(Family family, std::string_view policy, std::size_t service_ports) {
  impl_->gauge(MetricId::kNoLocalEndpoints, {to_string(family), policy}).Set(static_cast<double>(service_ports));
}

void Metrics::add_sync_failure(Family family, std::string_view mode, bool partial) {
  const ModeMetrics* own = metrics_of(mode);
  if (own == nullptr) return;
  impl_->counter(own->failures, {to_string(family)}).Increment();
  if (partial && own->partial_failures) impl_->counter(*own->partial_failures, {to_string(family)}).Increment();
}

void Metrics::set_rules(Family family, std::string_view mode, std::string_view table, std::size_t total,
                        std::size_t last_written) {
  const ModeMetrics* own = metrics_of(mode);
  if (own == nullptr) return;
  const auto set = [this](const std::optional<MetricId>& id, std::initializer_list<std::string_view> labels,
                          std::size_t value) {
    if (id) impl_->gauge(*id, labels).Set(static_cast<double>(value));
  };
  set(own->rules, {to_string(family)}, total);
  set(own->rules_by_table, {to_string(family), table}, total);
  set(own->rules_written_by_table, {to_string(family), table}, last_written);
}

// Both families' planes report the same programs. Where these are made anew, their counters begin at 0 again, and this one goes on.
void Metrics::set_dropped_packets(std::string_view mode, std::string_view reason, std::uint64_t packets) {
  const ModeMetrics* own = metrics_of(mode);
  if (own == nullptr || !own->dropped_packets) return;
  const MutexLock lock(impl_->mutex);
  std::uint64_t& known = impl_->dropped[std::string(reason)];
  const std::uint64_t more = packets >= known ? packets - known : packets;
  known = packets;
  impl_->counter(*own->dropped_packets, {reason}).Increment(static_cast<double>(more));
}

void Metrics::observe_conntrack_sync(Family family, double seconds, std::size_t deleted) {
  impl_->histogram(MetricId::kConntrackSyncDuration, family).Observe(seconds);
  impl_->counter(MetricId::kConntrackDeleted, {to_string(family)}).Increment(static_cast<double>(deleted));
}

void Metrics::add_healthz(int status) {
  impl_->counter(MetricId::kHealthz, {std::to_string(status)}).Increment();
}

void Metrics::add_livez(int status) {
  impl_->counter(MetricId::kLivez, {std::to_string(status)}).Increment();
}

void Metrics::add_rest_request(std::string_view code, std::string_view method, std::string_view host) {
  impl_->counter(MetricId::kRestRequests, {code, host, method}).Increment();
}

void Metrics::add_refused_object(std::string_view kind) {
  impl_->counter(MetricId::kObjectsRefused, {kind}).Increment();
}

void Metrics::add_drift_repair(Family family) {
  impl_->counter(MetricId::kDriftRepairs, {to_string(family)}).Increment();
}

void Metrics::set_refused_addresses(Family family, std::size_t count) {
  impl_->gauge(MetricId::kRefusedAddresses, {to_string(family)}).Set(static_cast<double>(count));
}

void Metrics::set_unmet_requests(Family family, std::size_t count) {
  impl_->gauge(MetricId::kUnmetRequests, {to_string(family)}).Set(static_cast<double>(count));
}

void Metrics::add_cleanup_failures(Family family, std::string_view mode, std::size_t count) {
  const ModeMetrics* own = metrics_of(mode);
  if (own != nullptr && own->cleanup_failures)
    impl_->counter(*own->cleanup_failures, {to_string(family)}).Increment(static_cast<double>(count));
}

void Metrics::set_refused_service_ports(Family family, std::size_t count) {
  impl_->gauge(MetricId::kRefusedServicePorts, {to_string(family)}).Set(static_cast<double>(count));
}

void Metrics::set_unremoved_objects(Family family, std::size_t count) {
  impl_->gauge(MetricId::kUnremovedObjects, {to_string(family)}).Set(static_cast<double>(count));
}

void Metrics::read_packet_counters_with(std::function<PacketCounters()> reader) {
  const MutexLock lock(impl_->mutex);
  impl_->packet_counters = std::move(reader);
}

std::string Metrics::text() const {
  std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
  impl_->append_packet_counters(families);
  append_process_stats(families);
  // A family without a value yet would be a header without lines.
  std::erase_if(families, [](const auto& family) { return family.metric.empty(); });
  std::sort(families.begin(), families.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (prometheus::MetricFamily& family : families) {
    std::sort(family.metric.begin(), family.metric.end(),
              [](const auto& a, const auto& b) { return a.label < b.label; });
  }
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace sluice::observe
