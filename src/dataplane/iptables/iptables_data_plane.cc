// SPDX-License-Identifier: Apache-2.0
// The two ways to apply. Full: nothing is known, so everything live is read and compared, and only what differs is
// written; after a restart over right rules that is nothing at all. Incremental: what is live is known from the plan
// before, so nothing is read.
//
// kube-proxy recognises a flush by a canary, an empty chain in mangle that vanishes with everything else; so do we. But
// people flush single tables, too ("iptables -t nat -F"), which takes no canary away; the jumps go with every flush.
#include "dataplane/iptables/iptables_data_plane.h"

#include <linux/netfilter.h>

#include <set>

#include "dataplane/iptables/live_state.h"
#include "dataplane/iptables/update.h"
#include "sys/sysctl.h"

namespace sluice::dataplane::iptables {
namespace {

// kube-proxy's large cluster mode: so many endpoints that comments cost more than they tell.
constexpr std::size_t kLargeClusterEndpoints = 1000;

bool with_comments(const Changes& changes) {
  return changes.endpoints_known <= kLargeClusterEndpoints;
}

std::vector<plan::ServicePortPlanPtr> wanted_ports(const Changes& changes) {
  std::vector<plan::ServicePortPlanPtr> ports;
  ports.reserve(changes.ports.size());
  for (const plan::Change& change : changes.ports) {
    if (change.after) ports.push_back(change.after);
  }
  return ports;
}

std::vector<PortUpdate> as_updates(const std::vector<plan::ServicePortPlanPtr>& ports) {
  std::vector<PortUpdate> updates;
  updates.reserve(ports.size());
  for (const plan::ServicePortPlanPtr& port : ports) updates.push_back({nullptr, port});
  return updates;
}

std::vector<plan::ServicePortPlanPtr> none_unchanged() {
  return {};
}

}  // namespace

Result<std::unique_ptr<IptablesDataPlane>> IptablesDataPlane::open(const Options& options) {
  SLUICE_TRY(Tool tool, find_tool(options.family, options.flavour));
  SLUICE_CHECK_OK(iptables::probe(tool));
  EncodeSettings settings;
  settings.family = options.family;
  settings.masquerade = options.masquerade;
  settings.masquerade_bit = options.masquerade_bit;
  settings.localhost_node_ports = options.localhost_node_ports;
  settings.random_fully = tool.newer_than_1_6_2();
  // Absent until conntrack is in use; then its default, 0, holds.
  const auto be_liberal = sys::read_sysctl("net/netfilter/nf_conntrack_tcp_be_liberal");
  settings.tcp_be_liberal = be_liberal && *be_liberal != "0";
  return std::unique_ptr<IptablesDataPlane>(new IptablesDataPlane(std::move(tool), std::move(settings)));
}

Result<ApplyStats> IptablesDataPlane::apply(const Changes& changes) {
  return changes.full ? apply_full(changes) : apply_incremental(changes);
}

Result<ApplyStats> IptablesDataPlane::apply_full(const Changes& changes) {
  const std::vector<plan::ServicePortPlanPtr> ports = wanted_ports(changes);
  LiveState live(encoder_, changes.node_port_addresses, ports);
  SLUICE_CHECK_OK(read_live(tool_, live));
  Update update({encoder_, tool_.flavour, changes.node_port_addresses, with_comments(changes), &live},
                as_updates(ports), none_unchanged);
  ApplyStats stats;
  SLUICE_CHECK_OK(run_script(tool_, update.blocks(), update, stats));
  served_.clear();
  for (const plan::ServicePortPlanPtr& port : ports) served_.emplace_hint(served_.end(), port->key, port);
  addresses_ = changes.node_port_addresses;
  port_rules_ = update.rule_count_change();
  return stats;
}

Result<ApplyStats> IptablesDataPlane::apply_incremental(const Changes& changes) {
  std::vector<PortUpdate> updates;
  updates.reserve(changes.ports.size());
  for (const plan::Change& change : changes.ports) updates.push_back({change.before, change.after});
  const auto list_unchanged = [&] {
    std::set<plan::ServicePortKey> changed;
    for (const plan::Change& change : changes.ports) changed.insert(change.key());
    std::vector<plan::ServicePortPlanPtr> unchanged;
    for (const auto& [key, port] : served_) {
      if (!changed.contains(key)) unchanged.push_back(port);
    }
    return unchanged;
  };
  Update update({encoder_, tool_.flavour, addresses_, with_comments(changes), nullptr}, std::move(updates),
                list_unchanged);
  ApplyStats stats;
  SLUICE_CHECK_OK(run_script(tool_, update.blocks(), update, stats));
  for (const plan::Change& change : changes.ports) {
    if (change.after) {
      served_.insert_or_assign(change.after->key, change.after);
    } else {
      served_.erase(change.key());
    }
  }
  for (std::size_t i = 0; i < port_rules_.size(); ++i) port_rules_[i] += update.rule_count_change()[i];
  return stats;
}

Result<bool> IptablesDataPlane::intact() {
  SLUICE_TRY(const bool canary, chain_exists(tool_, Table::kMangle, kCanaryChain));
  if (!canary) return false;
  SLUICE_TRY(const bool nat, may_jump(tool_, {Table::kNat, "PREROUTING", NF_INET_PRE_ROUTING}, kServicesChain));
  if (!nat) return false;
  return may_jump(tool_, {Table::kFilter, "FORWARD", NF_INET_FORWARD}, kForwardChain);
}

Result<Difference> IptablesDataPlane::compare(const Changes& wanted) {
  const std::vector<plan::ServicePortPlanPtr> ports = wanted_ports(wanted);
  LiveState live(encoder_, wanted.node_port_addresses, ports);
  SLUICE_CHECK_OK(read_live(tool_, live));
  return Update({encoder_, tool_.flavour, wanted.node_port_addresses, with_comments(wanted), &live}, as_updates(ports),
                none_unchanged)
      .difference();
}

std::vector<std::pair<std::string, std::size_t>> IptablesDataPlane::rules_by_table() const {
  std::vector<std::pair<std::string, std::size_t>> counts;
  for (const Table table : {Table::kFilter, Table::kNat}) {
    const auto ports = static_cast<std::size_t>(port_rules_[table == Table::kFilter ? 0 : 1]);
    counts.emplace_back(to_string(table), encoder_.fixed_rule_count(table, addresses_) + ports);
  }
  return counts;
}

Result<> probe(Family family, std::string_view flavour) {
  SLUICE_TRY(const Tool tool, find_tool(family, flavour));
  return probe(tool);
}

}  // namespace sluice::dataplane::iptables
