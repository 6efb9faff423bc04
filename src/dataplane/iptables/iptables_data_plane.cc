// SPDX-License-Identifier: Apache-2.0
// There are two ways to apply. Full: nothing is known, so everything live is read and compared, and only what differs
// is written; after a restart over correct rules that is nothing. Incremental: what is live is known from the previous
// plan, so nothing is read.
//
// kube-proxy recognises a flush by a canary, an empty chain in mangle that vanishes with everything else; so do we. But
// users also flush single tables ("iptables -t nat -F"), which leaves the canary; every flush removes the jumps.
#include "dataplane/iptables/iptables_data_plane.h"

#include <fmt/format.h>
#include <linux/netfilter.h>

#include <algorithm>
#include <set>

#include "dataplane/iptables/live_state.h"
#include "dataplane/iptables/update.h"
#include "sys/sysctl.h"

namespace sluice::dataplane::iptables {
namespace {

// Above this number of endpoints kube-proxy's large cluster mode is on: comments cost more than they help, and so does
// an hourly full sync.
constexpr std::size_t kLargeClusterEndpoints = 1000;

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

std::vector<PortUpdate> none_unchanged() {
  return {};
}

// Removes the live jumps, except those to chains that existing connections need.
class JumpRemoval : public ItemSource {
 public:
  explicit JumpRemoval(const LiveState& live) {
    for (std::uint32_t i = 0; i < jump_rules().size(); ++i) {
      const std::string_view to = jump_rules()[i].to;
      if (to == kForwardChain || to == kFirewallChain) continue;
      if (live.has_jump(i)) items_.push_back({0, i});
      const auto spare = std::count(live.spare_jumps().begin(), live.spare_jumps().end(), i);
      for (std::uint32_t copy = 0; copy < spare; ++copy) items_.push_back({copy + 1, i});
    }
  }

  [[nodiscard]] std::vector<Block> blocks() const {
    std::vector<Block> blocks;
    for (const Table table : {Table::kNat, Table::kFilter}) {
      Block block{table, {}};
      for (const Item& item : items_) {
        if (jump_rules()[item.index].table == table) block.items.push_back(item);
      }
      if (!block.items.empty()) blocks.push_back(std::move(block));
    }
    return blocks;
  }
  ItemText text(Item item) override {
    const JumpRule& jump = jump_rules()[item.index];
    return {{}, {fmt::format("-D {} {}", jump.from, jump.rule)}, {}};
  }
  [[nodiscard]] std::uint32_t phase(Item) const override { return 0; }
  [[nodiscard]] bool divisible(std::uint32_t) const override { return true; }
  [[nodiscard]] std::string label(Item item) const override {
    return fmt::format("removal of the jump from {} to {}", jump_rules()[item.index].from, jump_rules()[item.index].to);
  }
  bool exclude(Item) override { return false; }

 private:
  std::vector<Item> items_;  // kind: which copy of the jump
};

}  // namespace

Result<std::unique_ptr<IptablesDataPlane>> IptablesDataPlane::open(const Options& options) {
  SLUICE_TRY(Tool tool, find_tool(options.family, options.flavour));
  SLUICE_CHECK_OK(iptables::probe(tool));
  EncodeSettings settings;
  settings.family = options.family;
  settings.detector = options.detector;
  settings.masquerade_bit = options.masquerade_bit;
  settings.localhost_node_ports = options.localhost_node_ports;
  settings.random_fully = tool.newer_than_1_6_2();
  // Absent until conntrack is in use; then its default, 0, holds.
  const auto be_liberal = sys::read_sysctl("net/netfilter/nf_conntrack_tcp_be_liberal");
  settings.tcp_be_liberal = be_liberal && *be_liberal != "0";
  return std::unique_ptr<IptablesDataPlane>(
      new IptablesDataPlane(std::move(tool), std::move(settings), options.guarded));
}

Result<Outcome> IptablesDataPlane::apply(const Changes& changes) {
  return changes.full ? apply_full(changes) : apply_incremental(changes);
}

bool IptablesDataPlane::large_cluster() const {
  return endpoints_ > kLargeClusterEndpoints;
}

void IptablesDataPlane::count_endpoints(const Changes& changes) {
  if (changes.full) endpoints_ = 0;
  for (const plan::Change& change : changes.ports) {
    if (change.before) endpoints_ -= change.before->endpoints_known;
    if (change.after) endpoints_ += change.after->endpoints_known;
  }
}

Result<Outcome> IptablesDataPlane::apply_full(const Changes& changes) {
  const std::vector<plan::ServicePortPlanPtr> ports = wanted_ports(changes);
  LiveState live(encoder_, changes.node_port_addresses, ports);
  SLUICE_CHECK_OK(read_live(tool_, live));
  count_endpoints(changes);
  Update update({encoder_, tool_.flavour, changes.node_port_addresses, !large_cluster(), &live}, as_updates(ports),
                none_unchanged);
  Outcome outcome;
  applied_ = true;
  const bool guard_was_there = live.has_martian_rule();
  SLUICE_TRY(const auto refusals, try_script(tool_, update.blocks(), update, outcome.stats));
  if (!encoder_.martian_rule(changes.node_port_addresses).empty()) guarded_(guard_was_there);
  served_.clear();
  refused_.clear();
  for (const plan::ServicePortPlanPtr& port : ports) served_.emplace_hint(served_.end(), port->key, port);
  addresses_ = changes.node_port_addresses;
  port_rules_ = update.rule_count_change();
  note_refused(update.refused(refusals), [&](std::size_t i) { return ports[i]; }, outcome);
  unremoved_.clear();
  note_unremoved(update.unremoved(refusals), outcome);
  return outcome;
}

// The live and the wanted state of each port of `changes`.
std::vector<PortUpdate> IptablesDataPlane::updates_of(const Changes& changes) const {
  std::vector<PortUpdate> updates;
  updates.reserve(changes.ports.size());
  for (const plan::Change& change : changes.ports) {
    const auto refused = refused_.find(change.key());
    updates.push_back(refused == refused_.end() ? PortUpdate{change.before, change.after}
                                                : PortUpdate{nullptr, change.after, &refused->second.remains});
  }
  return updates;
}

std::vector<PortUpdate> IptablesDataPlane::all_but(const Changes& changes) const {
  std::set<plan::ServicePortKey> changed;
  for (const plan::Change& change : changes.ports) changed.insert(change.key());
  std::vector<PortUpdate> unchanged;
  for (const auto& [key, port] : served_) {
    if (!changed.contains(key)) unchanged.push_back({port, port});
  }
  for (const auto& [key, refused] : refused_) {
    if (!changed.contains(key)) unchanged.push_back({nullptr, refused.tried, &refused.remains});
  }
  return unchanged;
}

Result<Outcome> IptablesDataPlane::apply_incremental(const Changes& changes) {
  count_endpoints(changes);
  Update update({encoder_, tool_.flavour, addresses_, !large_cluster(), nullptr}, updates_of(changes),
                [&] { return all_but(changes); });
  Outcome outcome;
  SLUICE_TRY(const auto refusals, try_script(tool_, update.blocks(), update, outcome.stats));
  const auto refused = update.refused(refusals);
  // If other programs flushed our chains, every rule is refused for lack of its chain.
  bool damaged = update.surprised(refusals);
  if (!refused.empty() && !damaged) {
    SLUICE_TRY(const Integrity integrity, intact());
    damaged = integrity == Integrity::kDamaged;
  }
  for (const plan::Change& change : changes.ports) {
    refused_.erase(change.key());
    if (change.after) {
      served_.insert_or_assign(change.after->key, change.after);
    } else {
      served_.erase(change.key());
    }
  }
  if (damaged) return apply_full(everything());
  for (std::size_t i = 0; i < port_rules_.size(); ++i) port_rules_[i] += update.rule_count_change()[i];
  note_refused(refused, [&](std::size_t i) { return changes.ports[i].after; }, outcome);
  note_unremoved(update.unremoved(refusals), outcome);
  return outcome;
}

// All that is wanted, as for a full apply.
Changes IptablesDataPlane::everything() const {
  std::map<plan::ServicePortKey, plan::ServicePortPlanPtr> wanted = served_;
  for (const auto& [key, refused] : refused_) wanted.emplace(key, refused.tried);
  Changes changes;
  changes.full = true;
  for (const auto& [key, port] : wanted) changes.ports.push_back({nullptr, port});
  changes.node_port_addresses = addresses_;
  return changes;
}

void IptablesDataPlane::note_refused(std::vector<RefusedUpdate> refused,
                                     const std::function<plan::ServicePortPlanPtr(std::size_t)>& port_at,
                                     Outcome& outcome) {
  for (RefusedUpdate& each : refused) {
    const plan::ServicePortPlanPtr port = port_at(each.port);
    served_.erase(port->key);
    const std::string reason = each.untried ? each.reason : fmt::format("{}: {}", tool_.restore, each.reason);
    outcome.refused.push_back({port->key, reason, each.untried});
    refused_[port->key] = {port, std::move(each.remains)};
  }
  std::sort(outcome.refused.begin(), outcome.refused.end());
}

void IptablesDataPlane::note_unremoved(std::vector<UnremovedObject> unremoved, Outcome& outcome) {
  for (UnremovedObject& each : unremoved) {
    outcome.unremoved.push_back(fmt::format("{}: {}", each.object, each.reason));
    unremoved_.insert(std::move(each.object));
  }
}

// Of the node's own addresses a plan has only where node ports are served, which comes with each apply().
Result<Integrity> IptablesDataPlane::intact() {
  SLUICE_TRY(const bool canary, chain_exists(tool_, Table::kMangle, kCanaryChain));
  if (!canary) return Integrity::kDamaged;
  SLUICE_TRY(const bool nat, may_jump(tool_, {Table::kNat, "PREROUTING", NF_INET_PRE_ROUTING}, kServicesChain));
  if (!nat) return Integrity::kDamaged;
  SLUICE_TRY(const bool forward, may_jump(tool_, {Table::kFilter, "FORWARD", NF_INET_FORWARD}, kForwardChain));
  return forward ? Integrity::kKept : Integrity::kDamaged;
}

Result<> IptablesDataPlane::retire() {
  if (!applied_) return {};
  LiveState live(encoder_, addresses_, {});
  SLUICE_CHECK_OK(read_live(tool_, live));
  JumpRemoval removal(live);
  ApplyStats stats;
  return run_script(tool_, removal.blocks(), removal, stats);
}

const Capabilities& mode_capabilities() {
  static const Capabilities capabilities{{
      {Gap::kRefuseOwnPackets,
       "what the node itself sends passes KUBE-SERVICES alone, which refuses cluster IPs; for other addresses the "
       "network replies"},
      {Gap::kFilterBeforeRefusal,
       "a Service without endpoints has no chain for its source ranges: every client is refused, within them or not"},
  }};
  return capabilities;
}

Result<Difference> IptablesDataPlane::compare(const Changes& wanted) {
  std::vector<plan::ServicePortPlanPtr> ports = wanted_ports(wanted);
  std::erase_if(ports, [&](const plan::ServicePortPlanPtr& port) { return refused_.contains(port->key); });
  std::vector<const Remains*> remains;
  for (const auto& [key, refused] : refused_) remains.push_back(&refused.remains);
  LiveState live(encoder_, wanted.node_port_addresses, ports, remains);
  SLUICE_CHECK_OK(read_live(tool_, live));
  const bool comments = !large_cluster();
  const UpdateContext context{encoder_, tool_.flavour, wanted.node_port_addresses, comments, &live};
  Difference difference = Update(context, as_updates(ports), none_unchanged).difference();
  std::erase_if(difference.unexpected, [&](const std::string& object) { return unremoved_.contains(object); });
  return difference;
}

std::vector<std::pair<std::string, std::size_t>> IptablesDataPlane::rules_by_table() const {
  std::vector<std::pair<std::string, std::size_t>> counts;
  for (const Table table : {Table::kFilter, Table::kNat}) {
    const auto ports = static_cast<std::size_t>(port_rules_[table == Table::kFilter ? 0 : 1]);
    counts.emplace_back(to_string(table), encoder_.fixed_rule_count(table, addresses_) + ports);
  }
  return counts;
}

Result<> probe(Family family, std::optional<Flavour> flavour) {
  SLUICE_TRY(const Tool tool, find_tool(family, flavour));
  return probe(tool);
}

}  // namespace sluice::dataplane::iptables
