// SPDX-License-Identifier: Apache-2.0
// Every masqueraded or translated connection occupies an entry of the kernel's connection table, and a full table drops
// new ones. kube-proxy therefore sizes it by processors (32,768 each, at least 131,072) and shortens two TCP timeouts:
// five days for idle connections would let a busy node fill up. More than 2^20 entries are never requested, since the
// matching hash table is allocated at once. Facts: getConntrackMax and setupConntrack in
// cmd/kube-proxy/app/server_linux.go of 1.36.
#include "config/conntrack.h"

#include <algorithm>

namespace sluice::config {
namespace {

constexpr std::int64_t kEntriesMax = std::int64_t{1} << 20;
constexpr std::int64_t kEntriesPerBucket = 4;

std::int64_t whole_seconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::seconds>(duration).count();
}

}  // namespace

std::optional<std::int64_t> conntrack_max(const ConntrackConfig& config, unsigned processors) {
  const std::int64_t per_core = config.max_per_core.value_or(0);
  if (per_core <= 0) return std::nullopt;
  const std::int64_t scaled = per_core * processors;
  // The cap also wins over the minimum.
  if (scaled > kEntriesMax) return kEntriesMax;
  return std::max(scaled, std::int64_t{config.min.value_or(0)});
}

ConntrackPlan conntrack_plan(const ConntrackConfig& config, unsigned processors) {
  ConntrackPlan plan;
  if (const std::optional<std::int64_t> max = conntrack_max(config, processors)) {
    plan.settings.push_back({"net/netfilter/nf_conntrack_max", *max});
    plan.hash_size_min = *max / kEntriesPerBucket;
  }
  const auto timeout = [&plan](std::string_view name, Duration duration) {
    if (duration > Duration(0)) plan.settings.push_back({name, whole_seconds(duration)});
  };
  timeout("net/netfilter/nf_conntrack_tcp_timeout_established", config.tcp_established_timeout.value_or(Duration(0)));
  timeout("net/netfilter/nf_conntrack_tcp_timeout_close_wait", config.tcp_close_wait_timeout.value_or(Duration(0)));
  // False leaves it alone: another program may want it.
  if (config.tcp_be_liberal) plan.settings.push_back({"net/netfilter/nf_conntrack_tcp_be_liberal", 1});
  timeout("net/netfilter/nf_conntrack_udp_timeout", config.udp_timeout);
  timeout("net/netfilter/nf_conntrack_udp_timeout_stream", config.udp_stream_timeout);
  return plan;
}

}  // namespace sluice::config
