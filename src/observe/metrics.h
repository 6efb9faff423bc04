// SPDX-License-Identifier: Apache-2.0
// kube-proxy's metrics, with names, labels and buckets as dashboards expect them (prefix kubeproxy_), and a few of our
// own (prefix sluice_). Every metric is declared in one table, metrics_table.cc. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ip.h"

namespace sluice::observe {

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // This family is served in this mode ("iptables"): counters that have no value yet appear as 0 from
  // now on, so that an alert on its growth sees the first one.
  void expect(Family family, std::string_view mode);
  // One attempt to sync took this long, whether it succeeded or not. In mode iptables also by kind: full or partial.
  void observe_sync(Family family, std::string_view mode, bool full, double seconds);
  void set_sync_succeeded(Family family, Clock::WallTime when);
  void set_sync_queued(Family family, Clock::WallTime when);
  // From an endpoint's change in the API (its trigger time) until the kernel forwards by it.
  void observe_network_programming(Family family, double seconds);
  void add_service_changes(std::size_t count);
  void set_service_changes_pending(std::size_t count);
  void add_endpoint_changes(std::size_t count);
  void set_endpoint_changes_pending(std::size_t count);
  // `policy` is "internal" or "external".
  void set_no_local_endpoints(Family family, std::string_view policy, std::size_t service_ports);
  // A failed sync. Each mode has its own names, those of kube-proxy where it has any.
  void add_sync_failure(Family family, std::string_view mode, bool partial);
  // Rules of a mode's table: mode iptables counts those of each of its tables, mode ipvs those beside its virtual servers.
  void set_rules(Family family, std::string_view mode, std::string_view table, std::size_t total,
                 std::size_t last_written);
  // Packets that a mode's own programs have dropped for this reason so far, in the modes whose metrics count them: ipvs.
  void set_dropped_packets(std::string_view mode, std::string_view reason, std::uint64_t packets);
  void observe_conntrack_sync(Family family, double seconds, std::size_t deleted);
  void add_healthz(int status);
  void add_livez(int status);
  void add_rest_request(std::string_view code, std::string_view method, std::string_view host);
  // Objects that a source could not use, by kind ("Service"): sluice_objects_refused_total.
  void add_refused_object(std::string_view kind);
  // How often another program's change to our rules was repaired: sluice_drift_repairs_total.
  void add_drift_repair(Family family);
  // Addresses of Services that are not served because serving them would harm the node: sluice_refused_addresses.
  void set_refused_addresses(Family family, std::size_t count);
  // What Services request by annotation and do not get, although they are served: sluice_unmet_requests.
  void set_unmet_requests(Family family, std::size_t count);
  // Transactions that only remove what is no longer wanted and that the kernel refused, in the modes whose metrics
  // count them: nftables.
  void add_cleanup_failures(Family family, std::string_view mode, std::size_t count);
  // Service ports that the kernel refuses, wholly or in part: sluice_refused_service_ports.
  void set_refused_service_ports(Family family, std::size_t count);
  // Objects that are no longer wanted and that the kernel does not release: sluice_unremoved_objects.
  void set_unremoved_objects(Family family, std::size_t count);

  // Packet counters that the kernel keeps for us (nfnetlink_acct objects). They are read by text(),
  // on its thread; a reader that returns nothing omits its metric. Set before the first text().
  struct PacketCounters {
    std::optional<std::uint64_t> ct_state_invalid_dropped;
    std::optional<std::uint64_t> localhost_nodeports_accepted;
  };
  void read_packet_counters_with(std::function<PacketCounters()> reader);

  // The Prometheus text exposition format, version 0.0.4; families sorted by name.
  [[nodiscard]] std::string text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::observe
