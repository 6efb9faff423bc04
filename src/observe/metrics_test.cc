// SPDX-License-Identifier: Apache-2.0
// The output is read by Prometheus and by the dashboards of former kube-proxy users, so it is checked as text: its
// grammar by a small lint, its names, labels and buckets line by line.
#include "observe/metrics.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

#include "observe/metrics_table.h"
#include "observe/process_stats.h"

namespace sluice::observe {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

const Clock::WallTime kTime{std::chrono::milliseconds(1'700'000'000'250)};

void feed_all(Metrics& metrics) {
  for (const Family family : kFamilies) {
    metrics.observe_sync(family, "iptables", true, 0.002);
    metrics.observe_sync(family, "iptables", false, 0.003);
    metrics.set_sync_succeeded(family, kTime);
    metrics.set_sync_queued(family, kTime);
    metrics.observe_network_programming(family, 0.7);
    metrics.set_no_local_endpoints(family, "internal", 1);
    metrics.set_no_local_endpoints(family, "external", 2);
    for (const char* mode : {"iptables", "nftables", "ipvs"}) metrics.add_sync_failure(family, mode, true);
    metrics.set_rules(family, "iptables", "nat", 100, 10);
    metrics.set_rules(family, "iptables", "filter", 20, 2);
    metrics.set_rules(family, "ipvs", "nftables", 30, 5);
    metrics.observe_conntrack_sync(family, 0.01, 3);
    metrics.add_drift_repair(family);
    metrics.set_refused_addresses(family, 2);
    metrics.set_refused_service_ports(family, 3);
    metrics.set_unmet_requests(family, 5);
    for (const char* mode : {"iptables", "nftables", "ipvs"}) metrics.add_cleanup_failures(family, mode, 6);
    metrics.set_unremoved_objects(family, 4);
  }
  metrics.set_dropped_packets("ipvs", "no_route", 7);
  metrics.add_service_changes(4);
  metrics.set_service_changes_pending(1);
  metrics.add_endpoint_changes(7);
  metrics.set_endpoint_changes_pending(2);
  for (const int status : {200, 503}) {
    metrics.add_healthz(status);
    metrics.add_livez(status);
  }
  metrics.add_rest_request("200", "GET", "10.96.0.1:443");
  metrics.add_refused_object("Service");
  metrics.read_packet_counters_with([] { return Metrics::PacketCounters{11, 12}; });
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> lines_of(const Metrics& metrics) {
  return lines_of(metrics.text());
}

// The family that a sample belongs to: a histogram's samples carry a suffix.
std::string family_of(std::string sample, const std::map<std::string, std::string>& types) {
  sample = sample.substr(0, sample.find_first_of("{ "));
  for (const std::string suffix : {"_bucket", "_sum", "_count"}) {
    if (!sample.ends_with(suffix)) continue;
    const std::string base = sample.substr(0, sample.size() - suffix.size());
    if (types.contains(base) && types.at(base) == "histogram") return base;
  }
  return sample;
}

// What Prometheus' linter would report, and a few rules of our own.
std::vector<std::string> lint(const std::string& text) {
  std::vector<std::string> problems;
  std::map<std::string, std::string> helps;
  std::map<std::string, std::string> types;
  std::set<std::string> samples;
  std::string current;
  std::string previous;
  for (const std::string& line : lines_of(text)) {
    std::istringstream words(line);
    std::string hash;
    std::string keyword;
    std::string name;
    if (line.starts_with("#")) {
      words >> hash >> keyword >> name;
      auto& seen = keyword == "HELP" ? helps : types;
      if (keyword != "HELP" && keyword != "TYPE") problems.push_back("neither HELP nor TYPE: " + line);
      if (seen.contains(name)) problems.push_back("second " + keyword + " of " + name);
      std::string rest;
      std::getline(words >> std::ws, rest);
      seen[name] = rest;
      if (rest.empty()) problems.push_back("empty: " + line);
      if (keyword == "HELP" && name < previous) problems.push_back("not sorted: " + name);
      if (keyword == "HELP") previous = name;
      current = name;
      continue;
    }
    const std::string series = line.substr(0, line.rfind(' '));
    if (!samples.insert(series).second) problems.push_back("second sample " + series);
    name = family_of(line, types);
    if (name != current) problems.push_back("sample outside its family: " + line);
    if (!helps.contains(name)) problems.push_back("no HELP: " + name);
    if (!types.contains(name)) problems.push_back("no TYPE: " + name);
    // kube-proxy itself calls some gauges _total; a counter must be.
    if (types[name] == "counter" && !name.ends_with("_total"))
      problems.push_back("a counter not named _total: " + name);
  }
  for (const auto& [name, help] : helps) {
    const bool kubernetes = name.starts_with("kubeproxy_") || name.starts_with("rest_client_");
    if (!kubernetes && !name.starts_with("sluice_") && !name.starts_with("process_"))
      problems.push_back("prefix: " + name);
    if (help.starts_with("[ALPHA] ") != kubernetes) problems.push_back("stability: " + name);
    if (help.ends_with(".") && name.starts_with("sluice_")) problems.push_back("HELP ends with a full stop: " + name);
    if (!types.contains(name)) problems.push_back("HELP without TYPE: " + name);
  }
  return problems;
}

TEST(MetricsLint, FindsEachKindOfFault) {
  const std::string head = "# HELP kubeproxy_b [ALPHA] x\n# TYPE kubeproxy_b gauge\n";
  EXPECT_THAT(lint(head + "kubeproxy_b 1\n"), IsEmpty());
  EXPECT_THAT(lint("kubeproxy_b 1\n"), Contains("no HELP: kubeproxy_b"));
  EXPECT_THAT(lint(head + "kubeproxy_b 1\nkubeproxy_b 1\n"), ElementsAre("second sample kubeproxy_b"));
  EXPECT_THAT(lint(head + "# HELP kubeproxy_a [ALPHA] x\n# TYPE kubeproxy_a gauge\n"),
              ElementsAre("not sorted: kubeproxy_a"));
  EXPECT_THAT(lint("# HELP go_b x\n# TYPE go_b counter\ngo_b 1\n"),
              UnorderedElementsAre("a counter not named _total: go_b", "prefix: go_b"));
}

TEST(Metrics, TheTextPassesTheLintEmptyAndFull) {
  Metrics metrics;
  EXPECT_THAT(lint(metrics.text()), IsEmpty());
  feed_all(metrics);
  EXPECT_THAT(lint(metrics.text()), IsEmpty());
}

// The label names of the first sample of a metric.
std::vector<std::string> label_names(const std::vector<std::string>& lines, const std::string& sample) {
  std::vector<std::string> names;
  for (const std::string& line : lines) {
    if (!line.starts_with(sample + "{")) continue;
    std::size_t at = sample.size() + 1;
    for (std::size_t equals = 0; (equals = line.find("=\"", at)) != std::string::npos;
         at = line.find('"', equals + 2) + 2) {
      names.push_back(line.substr(at, equals - at));
    }
    break;
  }
  return names;
}

TEST(Metrics, EveryDeclaredMetricAppearsWithItsTypeAndLabels) {
  Metrics metrics;
  feed_all(metrics);
  const std::vector<std::string> lines = lines_of(metrics);
  constexpr std::array<const char*, 3> kTypes{"counter", "gauge", "histogram"};
  for (const MetricDeclaration& row : metric_table()) {
    const std::string name(row.name);
    SCOPED_TRACE(name);
    EXPECT_EQ(
        std::count(lines.begin(), lines.end(), "# TYPE " + name + " " + kTypes[static_cast<std::size_t>(row.type)]), 1);
    std::vector<std::string> labels;
    for (const std::string_view label : row.labels) {
      if (!label.empty()) labels.emplace_back(label);
    }
    EXPECT_EQ(label_names(lines, row.type == MetricType::kHistogram ? name + "_count" : name), labels);
  }
}

TEST(Metrics, BeforeAnythingHappensOnlyMetricsWithoutLabelsAreThere) {
  const Metrics metrics;
  std::vector<std::string> samples;
  for (const std::string& line : lines_of(metrics)) {
    if (!line.starts_with("#") && !line.starts_with("process_")) samples.push_back(line);
  }
  EXPECT_THAT(samples, ElementsAre("kubeproxy_sync_proxy_rules_endpoint_changes_pending 0",
                                   "kubeproxy_sync_proxy_rules_endpoint_changes_total 0",
                                   "kubeproxy_sync_proxy_rules_service_changes_pending 0",
                                   "kubeproxy_sync_proxy_rules_service_changes_total 0",
                                   "sluice_build_info{version=\"" SLUICE_VERSION "\"} 1"));
}

TEST(Metrics, AFamilyThatIsServedHasItsCountersFromTheStart) {
  Metrics metrics;
  metrics.expect(Family::kIPv4, "iptables");
  metrics.expect(Family::kIPv6, "ipvs");
  EXPECT_THAT(lint(metrics.text()), IsEmpty());
  const std::vector<std::string> lines = lines_of(metrics);
  for (const char* name : {"kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
                           "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
                           "kubeproxy_sync_full_proxy_rules_duration_seconds_count",
                           "kubeproxy_sync_partial_proxy_rules_duration_seconds_count"}) {
    EXPECT_THAT(lines, Contains(fmt::format("{}{{ip_family=\"IPv4\"}} 0", name)));
    EXPECT_THAT(lines, Not(Contains(HasSubstr(fmt::format("{}{{ip_family=\"IPv6\"", name)))))
        << "only of mode iptables";
  }
  for (const char* name :
       {"kubeproxy_conntrack_reconciler_deleted_entries_total",
        "kubeproxy_conntrack_reconciler_sync_duration_seconds_count",
        "kubeproxy_network_programming_duration_seconds_count", "kubeproxy_sync_proxy_rules_duration_seconds_count"}) {
    for (const char* family : {"IPv4", "IPv6"})
      EXPECT_THAT(lines, Contains(fmt::format("{}{{ip_family=\"{}\"}} 0", name, family)));
  }
  metrics.expect(Family::kIPv4, "iptables");
  EXPECT_EQ(lines_of(metrics).size(), lines.size()) << "a second call changes nothing";
}

TEST(Metrics, ValuesAreReportedAsGiven) {
  Metrics metrics;
  feed_all(metrics);
  const std::vector<std::string> lines = lines_of(metrics);
  for (const char* line : {
           R"(kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 1700000000.25)",
           R"(kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv6"} 1700000000.25)",
           R"(kubeproxy_sync_proxy_rules_endpoint_changes_pending 2)",
           R"(kubeproxy_sync_proxy_rules_endpoint_changes_total 7)",
           R"(kubeproxy_sync_proxy_rules_service_changes_pending 1)",
           R"(kubeproxy_sync_proxy_rules_service_changes_total 4)",
           R"(kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="external"} 2)",
           R"(kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv6",traffic_policy="internal"} 1)",
           R"(kubeproxy_proxy_healthz_total{code="503"} 1)",
           R"(kubeproxy_proxy_livez_total{code="200"} 1)",
           R"(kubeproxy_sync_proxy_rules_iptables_total{ip_family="IPv4",table="nat"} 100)",
           R"(kubeproxy_sync_proxy_rules_iptables_last{ip_family="IPv6",table="filter"} 2)",
           R"(kubeproxy_iptables_ct_state_invalid_dropped_packets_total 11)",
           R"(kubeproxy_iptables_localhost_nodeports_accepted_packets_total 12)",
           R"(kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"} 3)",
           R"(rest_client_requests_total{code="200",host="10.96.0.1:443",method="GET"} 1)",
           R"(sluice_objects_refused_total{kind="Service"} 1)",
           R"(sluice_drift_repairs_total{ip_family="IPv6"} 1)",
           R"(sluice_refused_addresses{ip_family="IPv6"} 2)",
           R"(sluice_refused_service_ports{ip_family="IPv6"} 3)",
           R"(sluice_unremoved_objects{ip_family="IPv6"} 4)",
           R"(sluice_unmet_requests{ip_family="IPv6"} 5)",
           R"(kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total{ip_family="IPv6"} 6)",
           R"(kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 1)",
           R"(sluice_ipvs_sync_failures_total{ip_family="IPv4"} 1)",
           R"(sluice_ipvs_helper_rules{ip_family="IPv6"} 30)",
           R"(sluice_ipvs_dropped_packets_total{reason="no_route"} 7)",
       }) {
    EXPECT_THAT(lines, Contains(line));
  }
}

TEST(Metrics, AFullSyncAndAPartialOneCountTwiceOverall) {
  Metrics metrics;
  metrics.observe_sync(Family::kIPv4, "iptables", true, 0.5);
  metrics.observe_sync(Family::kIPv4, "iptables", false, 0.25);
  const std::vector<std::string> lines = lines_of(metrics);
  EXPECT_THAT(lines, Contains(R"(kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 2)"));
  EXPECT_THAT(lines, Contains(R"(kubeproxy_sync_proxy_rules_duration_seconds_sum{ip_family="IPv4"} 0.75)"));
  EXPECT_THAT(lines, Contains(R"(kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1)"));
  EXPECT_THAT(lines, Contains(R"(kubeproxy_sync_partial_proxy_rules_duration_seconds_sum{ip_family="IPv4"} 0.25)"));
}

TEST(Metrics, AFailedPartialRestoreIsAlsoAFailedRestore) {
  Metrics metrics;
  metrics.add_sync_failure(Family::kIPv4, "iptables", false);
  EXPECT_THAT(lines_of(metrics), Not(Contains(HasSubstr("partial_restore"))));
  metrics.add_sync_failure(Family::kIPv4, "iptables", true);
  const std::vector<std::string> lines = lines_of(metrics);
  EXPECT_THAT(lines, Contains(R"(kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"} 2)"));
  EXPECT_THAT(lines,
              Contains(R"(kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"} 1)"));
}

// The kernel's totals, from both families' planes; they begin again with programs that are made anew.
TEST(Metrics, DroppedPacketsOnlyGrow) {
  Metrics metrics;
  const auto shows = [&](const char* value) {
    return testing::Matches(Contains(
        fmt::format(R"(sluice_ipvs_dropped_packets_total{{reason="table_full"}} {})", value)))(lines_of(metrics));
  };
  metrics.set_dropped_packets("ipvs", "table_full", 0);
  EXPECT_TRUE(shows("0")) << "from the start, so that an alert sees the first one";
  for (int plane = 0; plane < 2; ++plane) metrics.set_dropped_packets("ipvs", "table_full", 5);
  EXPECT_TRUE(shows("5"));
  metrics.set_dropped_packets("ipvs", "table_full", 2);
  EXPECT_TRUE(shows("7"));
  metrics.set_dropped_packets("iptables", "table_full", 9);
  EXPECT_TRUE(shows("7"));
}

TEST(Metrics, EachModeHasNamesOfItsOwn) {
  struct Row {
    const char* mode;
    const char* name;
  };
  for (const Row& row : {Row{"iptables", "kubeproxy_sync_proxy_rules_iptables_restore_failures_total"},
                         Row{"nftables", "kubeproxy_sync_proxy_rules_nftables_sync_failures_total"},
                         Row{"ipvs", "sluice_ipvs_sync_failures_total"}}) {
    Metrics metrics;
    metrics.expect(Family::kIPv4, row.mode);
    metrics.add_sync_failure(Family::kIPv4, row.mode, false);
    metrics.set_rules(Family::kIPv4, row.mode, "nat", 7, 7);
    for (const bool full : {true, false}) metrics.observe_sync(Family::kIPv4, row.mode, full, 0.1);
    const std::string text = metrics.text();
    EXPECT_THAT(text, HasSubstr(fmt::format("{}{{ip_family=\"IPv4\"}} 1", row.name)));
    const bool iptables = std::string_view(row.mode) == "iptables";
    EXPECT_EQ(text.find("_iptables_total{") != std::string::npos, iptables) << row.mode;
    EXPECT_EQ(text.find("iptables") != std::string::npos, iptables) << row.mode;
    for (const char* kind : {"sync_full_", "sync_partial_"})
      EXPECT_EQ(text.find(kind) != std::string::npos, iptables) << row.mode << ": " << kind;
    EXPECT_THAT(text, HasSubstr("kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 2"));
    EXPECT_EQ(text.find("sluice_ipvs_helper_rules{") != std::string::npos, std::string_view(row.mode) == "ipvs");
  }
}

// The bounds of a histogram's buckets, as written.
std::vector<std::string> bounds(const Metrics& metrics, const std::string& name) {
  std::vector<std::string> result;
  for (const std::string& line : lines_of(metrics)) {
    const std::string start = name + R"(_bucket{ip_family="IPv4",le=")";
    if (line.starts_with(start)) result.push_back(line.substr(start.size(), line.rfind('"') - start.size()));
  }
  return result;
}

TEST(Metrics, BucketsAreThoseOfKubeProxy) {
  Metrics metrics;
  feed_all(metrics);
  for (const char* name :
       {"sync_proxy_rules", "sync_full_proxy_rules", "sync_partial_proxy_rules", "conntrack_reconciler_sync"}) {
    EXPECT_THAT(bounds(metrics, std::string("kubeproxy_") + name + "_duration_seconds"),
                ElementsAre("0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512",
                            "1.024", "2.048", "4.096", "8.192", "16.384", "+Inf"))
        << name;
  }
  std::vector<std::string> wanted{"0", "0.25", "0.5"};
  for (int s = 1; s < 60; ++s) wanted.push_back(std::to_string(s));
  for (int s = 60; s < 120; s += 5) wanted.push_back(std::to_string(s));
  for (int s = 120; s <= 300; s += 30) wanted.push_back(std::to_string(s));
  wanted.push_back("+Inf");
  EXPECT_EQ(bounds(metrics, "kubeproxy_network_programming_duration_seconds"), wanted);
}

TEST(Metrics, AnObservationFallsIntoItsBuckets) {
  Metrics metrics;
  metrics.observe_network_programming(Family::kIPv4, 0.25);  // a bound belongs to its own bucket
  const std::vector<std::string> lines = lines_of(metrics);
  EXPECT_THAT(lines, Contains(R"(kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="0"} 0)"));
  EXPECT_THAT(lines,
              Contains(R"(kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="0.25"} 1)"));
  EXPECT_THAT(lines,
              Contains(R"(kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="+Inf"} 1)"));
  EXPECT_THAT(lines, Not(Contains(HasSubstr("IPv6"))));
}

TEST(Metrics, ACounterOfTheKernelThatCannotBeReadIsLeftOut) {
  Metrics metrics;
  metrics.read_packet_counters_with([] { return Metrics::PacketCounters{std::nullopt, 5}; });
  EXPECT_THAT(metrics.text(), Not(HasSubstr("ct_state_invalid")));
  EXPECT_THAT(lines_of(metrics), Contains("kubeproxy_iptables_localhost_nodeports_accepted_packets_total 5"));
}

TEST(Metrics, LabelValuesAreEscaped) {
  Metrics metrics;
  metrics.add_refused_object("a\"b\\c\nd");
  EXPECT_THAT(lines_of(metrics), Contains(R"(sluice_objects_refused_total{kind="a\"b\\c\nd"} 1)"));
}

TEST(Metrics, TheProcessReportsItsResources) {
  const Metrics metrics;
  std::map<std::string, double> values;
  for (const std::string& line : lines_of(metrics)) {
    if (line.starts_with("process_")) values[line.substr(0, line.find(' '))] = std::stod(line.substr(line.find(' ')));
  }
  EXPECT_EQ(values.size(), 9U);
  EXPECT_GE(values["process_virtual_memory_max_bytes"], values["process_virtual_memory_bytes"]);
  EXPECT_GE(values["process_network_receive_bytes_total"], 0);
  EXPECT_GE(values["process_network_transmit_bytes_total"], 0);
  EXPECT_GT(values["process_resident_memory_bytes"], 1e6);
  EXPECT_GT(values["process_virtual_memory_bytes"], values["process_resident_memory_bytes"]);
  EXPECT_GE(values["process_open_fds"], 3);
  EXPECT_GE(values["process_max_fds"], values["process_open_fds"]);
  EXPECT_GE(values["process_cpu_seconds_total"], 0);
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  EXPECT_GT(values["process_start_time_seconds"], now - 86400);
  EXPECT_LE(values["process_start_time_seconds"], now + 1);
}

TEST(ProcessStats, BytesOfTheNetworkAreThoseOfIp) {
  const auto bytes = parse_netstat(
      "TcpExt: SyncookiesSent InOctets OutOctets\nTcpExt: 1 2 3\n"
      "IpExt: InNoRoutes InMcastOctets InOctets OutOctets\nIpExt: 0 7 1920941539 4096\nMPTcpExt: A\nMPTcpExt: 0\n");
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->received_bytes, 1920941539);
  EXPECT_EQ(bytes->sent_bytes, 4096);
  for (const char* text : {"", "IpExt: InOctets OutOctets\n", "IpExt: InOctets\nIpExt: 1\n", "TcpExt: A\nTcpExt: 0\n"})
    EXPECT_FALSE(parse_netstat(text)) << text;
}

// Prometheus keeps one help for each metric, and reports nodes that differ. From kube-proxy 1.36's /metrics.
TEST(Metrics, HelpIsKubeProxysOwn) {
  const std::map<std::string_view, std::string_view> wanted{
      {"kubeproxy_conntrack_reconciler_deleted_entries_total",
       "[ALPHA] Cumulative conntrack flows deleted by conntrack reconciler"},
      {"kubeproxy_conntrack_reconciler_sync_duration_seconds",
       "[ALPHA] ReconcileConntrackFlowsLatency latency in seconds"},
      {"kubeproxy_iptables_ct_state_invalid_dropped_packets_total",
       "[ALPHA] packets dropped by iptables to work around conntrack problems"},
      {"kubeproxy_iptables_localhost_nodeports_accepted_packets_total",
       "[ALPHA] Number of packets accepted on nodeports of loopback interface"},
      {"kubeproxy_network_programming_duration_seconds", "[ALPHA] In Cluster Network Programming Latency in seconds"},
      {"kubeproxy_proxy_healthz_total", "[ALPHA] Cumulative proxy healthz HTTP status"},
      {"kubeproxy_proxy_livez_total", "[ALPHA] Cumulative proxy livez HTTP status"},
      {"kubeproxy_sync_full_proxy_rules_duration_seconds",
       "[ALPHA] SyncProxyRules latency in seconds for full resyncs"},
      {"kubeproxy_sync_partial_proxy_rules_duration_seconds",
       "[ALPHA] SyncProxyRules latency in seconds for partial resyncs"},
      {"kubeproxy_sync_proxy_rules_duration_seconds", "[ALPHA] SyncProxyRules latency in seconds"},
      {"kubeproxy_sync_proxy_rules_endpoint_changes_pending", "[ALPHA] Pending proxy rules Endpoint changes"},
      {"kubeproxy_sync_proxy_rules_endpoint_changes_total", "[ALPHA] Cumulative proxy rules Endpoint changes"},
      {"kubeproxy_sync_proxy_rules_iptables_last",
       "[ALPHA] Number of iptables rules written by kube-proxy in last sync"},
      {"kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
       "[ALPHA] Cumulative proxy iptables partial restore failures"},
      {"kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
       "[ALPHA] Cumulative proxy iptables restore failures"},
      {"kubeproxy_sync_proxy_rules_iptables_total", "[ALPHA] Total number of iptables rules owned by kube-proxy"},
      {"kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
       "[ALPHA] The last time a sync of proxy rules was queued"},
      {"kubeproxy_sync_proxy_rules_last_timestamp_seconds",
       "[ALPHA] The last time proxy rules were successfully synced"},
      {"kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total",
       "[ALPHA] Cumulative proxy nftables cleanup failures"},
      {"kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "[ALPHA] Cumulative proxy nftables sync failures"},
      {"kubeproxy_sync_proxy_rules_no_local_endpoints_total",
       "[ALPHA] Number of services with a Local traffic policy and no endpoints"},
      {"kubeproxy_sync_proxy_rules_service_changes_pending", "[ALPHA] Pending proxy rules Service changes"},
      {"kubeproxy_sync_proxy_rules_service_changes_total", "[ALPHA] Cumulative proxy rules Service changes"},
      {"process_cpu_seconds_total", "Total user and system CPU time spent in seconds."},
      {"process_max_fds", "Maximum number of open file descriptors."},
      {"process_network_receive_bytes_total", "Number of bytes received by the process over the network."},
      {"process_network_transmit_bytes_total", "Number of bytes sent by the process over the network."},
      {"process_open_fds", "Number of open file descriptors."},
      {"process_resident_memory_bytes", "Resident memory size in bytes."},
      {"process_start_time_seconds", "Start time of the process since unix epoch in seconds."},
      {"process_virtual_memory_bytes", "Virtual memory size in bytes."},
      {"process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes."},
      {"rest_client_requests_total", "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host."}};
  for (const MetricDeclaration& row : metric_table()) {
    if (row.name.starts_with("sluice_")) continue;
    ASSERT_TRUE(wanted.contains(row.name)) << row.name;
    EXPECT_EQ(row.help, wanted.at(row.name)) << row.name;
  }
}

TEST(Metrics, ThreadsMayRecordWhileOthersRead) {
  Metrics metrics;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&metrics] {
      for (int i = 0; i < 500; ++i) {
        metrics.observe_sync(Family::kIPv6, "iptables", true, 0.001);
        metrics.add_rest_request("200", "GET", "h");
      }
    });
  }
  for (int i = 0; i < 20; ++i) EXPECT_THAT(lint(metrics.text()), IsEmpty());
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(lines_of(metrics),
              Contains(R"(kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv6"} 2000)"));
  EXPECT_THAT(lines_of(metrics), Contains(R"(rest_client_requests_total{code="200",host="h",method="GET"} 2000)"));
}

}  // namespace
}  // namespace sluice::observe
