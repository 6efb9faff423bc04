// SPDX-License-Identifier: Apache-2.0
// The order of writing. A packet must never meet a jump to a missing chain, nor a virtual server whose old
// rules are gone while its new ones are not yet in. So:
//
//   filter  fixed chains and jumps; new refusals. A packet that nat redirects no longer matches them: early is
//           harmless.
//   nat     fixed chains and jumps; the chains of the ports, each emptied and filled within one COMMIT; then dispatch
//           rules; then chains that are no longer referenced are deleted.
//   filter  removed refusals: only now does nat serve what they refused.
//   mangle  the canary.
//
// The cost must follow the change. One changed endpoint rewrites its port's chains and nothing else. A port that is
// added or removed costs its own dispatch rules: "-I" at the head (the rules for node ports must stay last), "-D" by
// their text. But the nft flavour compares every rule of the chain for each "-D" (5 ms in a chain of 5,000 rules,
// against 0.08 ms for rewriting one), so beyond some dozens of removals the chain is rewritten as a whole. The cutting
// of blocks also depends on the flavour:
//
//   nft     costs more the larger the block (restore_script.h), so there are blocks of kNftChainsPerBlock.
//   legacy  reads and replaces the whole table at each COMMIT (0.8 s at that size), so there is one block per table.
#include "dataplane/iptables/update.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

namespace sluice::dataplane::iptables {
namespace {

constexpr std::size_t kNftRemovalsMax = 64;
constexpr std::size_t kLegacyRemovalsMax = 4096;  // comparing in memory: cheap beside replacing the table

// After so many refused Service ports of one protocol, with or without affinity, the others of that kind are
// set aside: a kernel without SCTP must not cost one run of iptables-restore for each port that has it.
constexpr std::size_t kTriedAlikeMax = 3;

constexpr std::size_t kNobody = static_cast<std::size_t>(-1);

std::size_t table_index(Table table) {
  return table == Table::kFilter ? 0 : 1;
}

std::string line(std::string_view verb, std::string_view chain, std::string_view rule) {
  return fmt::format("{} {} {}", verb, chain, rule);
}

}  // namespace

// In the order of the phases.
enum class Update::Kind : std::uint32_t {
  kFixed,      // index: the table
  kFilterAdd,  // index: the port, as for all whose name does not show otherwise
  kChains,
  kHead,        // empties the dispatch chains of nat that are rewritten
  kUnexpected,  // index: into unexpected_
  kNatDispatch,
  kTail,  // the rules for node ports
  kDrop,  // index: into drops_
  kFilterHead,
  kFilterUnexpected,  // index: into unexpected_
  kFilterRemove,
};

Update::Update(UpdateContext context, std::vector<PortUpdate> changed, const ListUnchanged& list_unchanged)
    : context_(std::move(context)), ports_(std::move(changed)), changed_(ports_.size()) {
  summarise();
  if (context_.live != nullptr) {
    for (const StaleChain& chain : context_.live->stale()) drops_.push_back({chain, kNobody});
    for (std::size_t i = 0; i < kDispatchChains; ++i) {
      const auto chain = static_cast<DispatchChain>(i);
      for (const std::string& rule : context_.live->unexpected(chain)) unexpected_.push_back({chain, rule});
      removals_[i] += context_.live->unexpected(chain).size();
    }
  }
  std::stable_sort(drops_.begin(), drops_.end(),
                   [](const Drop& a, const Drop& b) { return a.chain.kind < b.chain.kind; });
  decide_rewrites();
  if (any_rewritten(Table::kNat) || any_rewritten(Table::kFilter)) {
    for (PortUpdate& port : list_unchanged()) ports_.push_back(std::move(port));
    summaries_.resize(ports_.size());
  }
}

Update::Delta Update::delta(std::size_t port, Detail detail) const {
  const PortUpdate& update = ports_[port];
  Delta delta;
  PortRules before;
  PortRules after;
  if (update.remains != nullptr) {
    before.dispatch = update.remains->dispatch;
  } else if (update.before) {
    before = context_.encoder.encode_port(*update.before, detail, context_.comments);
  }
  if (update.after) after = context_.encoder.encode_port(*update.after, detail, context_.comments);
  for (const Table table : {Table::kFilter, Table::kNat}) {
    const std::size_t index = table_index(table);
    const auto counted = update.remains != nullptr ? update.remains->counted[index]
                                                   : static_cast<std::ptrdiff_t>(before.rule_count(table));
    delta.rule_count_change[index] = static_cast<std::ptrdiff_t>(after.rule_count(table)) - counted;
  }
  if (context_.live != nullptr) {
    add_live_delta(std::move(after), delta);
    return delta;
  }
  std::map<std::string_view, const PortChain*> live;
  for (const PortChain& chain : before.chains) live.emplace(chain.name, &chain);
  for (PortChain& chain : after.chains) {
    const auto found = live.find(chain.name);
    const bool right = found != live.end() && found->second->rules == chain.rules;
    if (found != live.end()) live.erase(found);
    if (!right) delta.write.push_back(std::move(chain));
  }
  for (const auto& [name, chain] : live) delta.drop.push_back({chain->kind, chain->name});
  if (update.remains != nullptr) {
    for (const StaleChain& chain : update.remains->chains) {
      const auto same_name = [&](const PortChain& wanted) { return wanted.name == chain.name; };
      if (std::none_of(delta.write.begin(), delta.write.end(), same_name)) delta.drop.push_back(chain);
    }
  }
  const auto missing_in = [](const std::vector<DispatchRule>& rules, const std::vector<DispatchRule>& wanted) {
    std::vector<DispatchRule> missing;
    std::copy_if(wanted.begin(), wanted.end(), std::back_inserter(missing), [&rules](const DispatchRule& rule) {
      return std::find(rules.begin(), rules.end(), rule) == rules.end();
    });
    return missing;
  };
  delta.remove = missing_in(after.dispatch, before.dispatch);
  delta.add = missing_in(before.dispatch, after.dispatch);
  return delta;
}

void Update::add_live_delta(PortRules after, Delta& delta) const {
  for (PortChain& chain : after.chains) {
    if (!context_.live->port_chain_right(chain)) delta.write.push_back(std::move(chain));
  }
  for (DispatchRule& rule : after.dispatch) {
    (context_.live->dispatch_rule_live(rule) ? delta.keep : delta.add).push_back(std::move(rule));
  }
}

void Update::summarise() {
  summaries_.resize(ports_.size());
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    const Delta delta = this->delta(i);
    for (std::size_t table = 0; table < rule_count_change_.size(); ++table) {
      rule_count_change_[table] += delta.rule_count_change[table];
    }
    Summary& summary = summaries_[i];
    summary.rule_count_change = delta.rule_count_change;
    summary.chains_to_write = delta.write.size();
    for (const StaleChain& chain : delta.drop) drops_.push_back({chain, i});
    for (const DispatchRule& rule : delta.add)
      (table_of(rule.chain) == Table::kNat ? summary.nat_dispatch : summary.filter_add) = true;
    for (const DispatchRule& rule : delta.remove) {
      (table_of(rule.chain) == Table::kNat ? summary.nat_dispatch : summary.filter_remove) = true;
      ++removals_[static_cast<std::size_t>(rule.chain)];
    }
  }
}

void Update::decide_rewrites() {
  const std::size_t removals_max = context_.flavour == Flavour::kNft ? kNftRemovalsMax : kLegacyRemovalsMax;
  for (std::size_t i = 0; i < kDispatchChains; ++i) {
    const auto chain = static_cast<DispatchChain>(i);
    rewrite_[i] = removals_[i] > removals_max;
    if (context_.live == nullptr || table_of(chain) != Table::kNat) continue;
    rewrite_[i] = rewrite_[i] || !context_.live->has_chain(Table::kNat, name_of(chain));
    if (chain == DispatchChain::kNatServices) rewrite_[i] = rewrite_[i] || !context_.live->node_port_rules_right();
  }
}

bool Update::any_rewritten(Table table) const {
  for (std::size_t i = 0; i < kDispatchChains; ++i) {
    if (rewrite_[i] && table_of(static_cast<DispatchChain>(i)) == table) return true;
  }
  return false;
}

// A port's rules in a rewritten dispatch chain; for an excluded port, its current ones.
std::vector<DispatchRule> Update::final_dispatch(std::size_t port) const {
  const bool excluded = excluded_ports_.contains(port) || port >= changed_;
  if (excluded && ports_[port].remains != nullptr) return ports_[port].remains->dispatch;
  if (excluded && context_.live != nullptr) return delta(port, Detail::kDispatch).keep;
  const plan::ServicePortPlanPtr& side = excluded ? ports_[port].before : ports_[port].after;
  return side ? context_.encoder.encode_port(*side, Detail::kDispatch).dispatch : std::vector<DispatchRule>();
}

ItemText Update::fixed_text(Table table) const {
  ItemText text;
  if (context_.live == nullptr) return text;
  const LiveState& live = *context_.live;
  const std::vector<Encoder::FixedChain> filled = context_.encoder.fixed_chains();
  for (const LiveState::FixedName& fixed : LiveState::all_fixed_names()) {
    if (fixed.table == table && !live.has_chain(table, fixed.name)) text.declare.emplace_back(fixed.name);
  }
  for (const Encoder::FixedChain& chain : filled) {
    if (chain.table != table || live.fixed_chain_right(chain)) continue;
    if (live.has_chain(table, chain.name)) text.declare.emplace_back(chain.name);
    for (const std::string& rule : chain.rules) text.rules.push_back(line("-A", chain.name, rule));
  }
  // KUBE-FIREWALL is kubelet's too, so rules are added to it, and it is never emptied.
  if (table == Table::kFilter && !live.has_martian_rule()) {
    text.rules.push_back(line("-A", kFirewallChain, context_.encoder.martian_rule(context_.addresses)));
  }
  for (std::size_t i = 0; i < jump_rules().size(); ++i) {
    const JumpRule& jump = jump_rules()[i];
    if (jump.table == table && !live.has_jump(i)) text.rules.push_back(line("-I", jump.from, jump.rule));
  }
  // Two proxies that start at once, or a firewall that saves and restores, may leave a jump twice.
  for (const std::size_t spare : live.spare_jumps()) {
    const JumpRule& jump = jump_rules()[spare];
    if (jump.table == table) text.rules.push_back(line("-D", jump.from, jump.rule));
  }
  return text;
}

ItemText Update::chains_text(std::size_t port) const {
  ItemText text;
  if (excluded_ports_.contains(port)) return text;
  for (PortChain& chain : delta(port).write) {
    for (const std::string& rule : chain.rules) text.rules.push_back(line("-A", chain.name, rule));
    text.declare.push_back(std::move(chain.name));
  }
  return text;
}

ItemText Update::dispatch_text(std::size_t port, Table table, bool adding_only, bool removing_only) const {
  ItemText text;
  const bool touched = port < changed_ && !excluded_ports_.contains(port);
  const Delta delta = touched ? this->delta(port, Detail::kDispatch) : Delta{};
  // Rules are removed by "-D" unless their chain is emptied anyway.
  if (!adding_only) {
    for (const DispatchRule& rule : delta.remove) {
      if (table_of(rule.chain) == table && !rewritten(rule.chain))
        text.rules.push_back(line("-D", name_of(rule.chain), rule.rule));
    }
  }
  if (!removing_only) {
    // Each is added at the head of nat KUBE-SERVICES, so the last one first.
    for (auto rule = delta.add.rbegin(); rule != delta.add.rend(); ++rule) {
      if (table_of(rule->chain) != table || (table == Table::kNat && rewritten(rule->chain))) continue;
      text.rules.push_back(
          line(rule->chain == DispatchChain::kNatServices ? "-I" : "-A", name_of(rule->chain), rule->rule));
    }
  }
  if (!adding_only && any_rewritten(table)) {
    for (const DispatchRule& rule : final_dispatch(port)) {
      if (table_of(rule.chain) == table && rewritten(rule.chain))
        text.rules.push_back(line("-A", name_of(rule.chain), rule.rule));
    }
  }
  return text;
}

ItemText Update::head_text(Table table) const {
  ItemText text;
  for (std::size_t i = 0; i < kDispatchChains; ++i) {
    const auto chain = static_cast<DispatchChain>(i);
    if (rewrite_[i] && table_of(chain) == table) text.declare.emplace_back(name_of(chain));
  }
  return text;
}

ItemText Update::text(Item item) {
  switch (static_cast<Kind>(item.kind)) {
    case Kind::kFixed:
      return fixed_text(static_cast<Table>(item.index));
    case Kind::kFilterAdd:
      return dispatch_text(item.index, Table::kFilter, true, false);
    case Kind::kChains:
      return chains_text(item.index);
    case Kind::kHead:
      return head_text(Table::kNat);
    case Kind::kFilterHead:
      return head_text(Table::kFilter);
    case Kind::kUnexpected:
    case Kind::kFilterUnexpected: {
      const Unexpected& rule = unexpected_[item.index];
      if (rewritten(rule.chain) || excluded_unexpected_.contains(item.index)) return {};
      return {{}, {line("-D", name_of(rule.chain), rule.rule)}, {}};
    }
    case Kind::kNatDispatch:
      return dispatch_text(item.index, Table::kNat, false, false);
    case Kind::kTail: {
      ItemText text;
      if (!rewritten(DispatchChain::kNatServices)) return text;
      for (const std::string& rule : context_.encoder.node_port_rules(context_.addresses)) {
        text.rules.push_back(line("-A", kServicesChain, rule));
      }
      return text;
    }
    case Kind::kDrop: {
      const Drop& drop = drops_[item.index];
      if (excluded_drops_.contains(item.index) || excluded_ports_.contains(drop.port)) return {};
      return {{drop.chain.name}, {}, {drop.chain.name}};
    }
    case Kind::kFilterRemove:
      return dispatch_text(item.index, Table::kFilter, false, true);
  }
  return {};
}

void Update::add_filter_blocks(std::vector<Block>& before, std::vector<Block>& after) const {
  const auto item = [](Kind kind, std::size_t index) {
    return Item{static_cast<std::uint32_t>(kind), static_cast<std::uint32_t>(index)};
  };
  Block adding{Table::kFilter, {}};
  Block removing{Table::kFilter, {}};
  const ItemText fixed = fixed_text(Table::kFilter);
  if (!fixed.declare.empty() || !fixed.rules.empty()) {
    adding.items.push_back(item(Kind::kFixed, static_cast<std::size_t>(Table::kFilter)));
  }
  const bool rewrite = any_rewritten(Table::kFilter);
  if (rewrite) removing.items.push_back(item(Kind::kFilterHead, 0));
  for (std::size_t i = 0; i < unexpected_.size(); ++i) {
    if (table_of(unexpected_[i].chain) == Table::kFilter) removing.items.push_back(item(Kind::kFilterUnexpected, i));
  }
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    if (summaries_[i].filter_add) adding.items.push_back(item(Kind::kFilterAdd, i));
    if (summaries_[i].filter_remove || rewrite) removing.items.push_back(item(Kind::kFilterRemove, i));
  }
  if (!adding.items.empty()) before.push_back(std::move(adding));
  if (!removing.items.empty()) after.push_back(std::move(removing));
}

void Update::add_nat_blocks(std::vector<Block>& blocks) const {
  const auto item = [](Kind kind, std::size_t index) {
    return Item{static_cast<std::uint32_t>(kind), static_cast<std::uint32_t>(index)};
  };
  std::size_t chains = drops_.size();
  for (const Summary& summary : summaries_) chains += summary.chains_to_write;
  const bool rewrite = any_rewritten(Table::kNat);
  const bool one_block = context_.flavour == Flavour::kLegacy || (chains <= kNftChainsPerBlock && !rewrite);
  Block block{Table::kNat, {}};
  std::size_t in_block = 0;
  const auto end_block = [&] {
    if (!block.items.empty()) blocks.push_back(std::exchange(block, Block{Table::kNat, {}}));
    in_block = 0;
  };
  const auto add_chains = [&](Item next, std::size_t count) {
    if (!one_block && in_block > 0 && in_block + count > kNftChainsPerBlock) end_block();
    block.items.push_back(next);
    in_block += count;
  };

  const ItemText fixed = fixed_text(Table::kNat);
  if (!fixed.declare.empty() || !fixed.rules.empty())
    block.items.push_back(item(Kind::kFixed, static_cast<std::size_t>(Table::kNat)));
  for (std::size_t i = 0; i < changed_; ++i) {
    if (summaries_[i].chains_to_write > 0) add_chains(item(Kind::kChains, i), summaries_[i].chains_to_write);
  }
  if (!one_block) end_block();
  if (rewrite) block.items.push_back(item(Kind::kHead, 0));
  for (std::size_t i = 0; i < unexpected_.size(); ++i) {
    if (table_of(unexpected_[i].chain) == Table::kNat) block.items.push_back(item(Kind::kUnexpected, i));
  }
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    if (summaries_[i].nat_dispatch || rewrite) block.items.push_back(item(Kind::kNatDispatch, i));
  }
  if (rewrite) block.items.push_back(item(Kind::kTail, 0));
  if (!one_block) end_block();
  // Beyond this point packets go by the new rules; what follows only deletes what is no longer referenced.
  for (std::size_t i = 0; i < drops_.size(); ++i) add_chains(item(Kind::kDrop, i), 1);
  end_block();
}

std::vector<Block> Update::blocks() const {
  std::vector<Block> blocks;
  std::vector<Block> filter_after;
  add_filter_blocks(blocks, filter_after);
  add_nat_blocks(blocks);
  std::move(filter_after.begin(), filter_after.end(), std::back_inserter(blocks));
  if (!fixed_text(Table::kMangle).declare.empty()) {
    blocks.push_back(
        {Table::kMangle, {{static_cast<std::uint32_t>(Kind::kFixed), static_cast<std::uint32_t>(Table::kMangle)}}});
  }
  return blocks;
}

std::uint32_t Update::phase(Item item) const {
  // Removing and adding single dispatch rules may be mixed; a rewritten chain succeeds or fails as a whole, from head
  // to tail.
  const auto kind = static_cast<Kind>(item.kind);
  if (kind == Kind::kHead || kind == Kind::kUnexpected || kind == Kind::kTail)
    return static_cast<std::uint32_t>(Kind::kNatDispatch);
  if (kind == Kind::kFilterHead || kind == Kind::kFilterUnexpected)
    return static_cast<std::uint32_t>(Kind::kFilterRemove);
  return item.kind;
}

bool Update::divisible(std::uint32_t phase) const {
  switch (static_cast<Kind>(phase)) {
    case Kind::kFixed:
      return false;
    case Kind::kNatDispatch:
      return !any_rewritten(Table::kNat);
    case Kind::kFilterRemove:
      return !any_rewritten(Table::kFilter);
    default:
      return true;
  }
}

std::string Update::label(Item item) const {
  switch (static_cast<Kind>(item.kind)) {
    case Kind::kFilterAdd:
    case Kind::kChains:
    case Kind::kNatDispatch:
    case Kind::kFilterRemove: {
      const PortUpdate& port = ports_[item.index];
      const plan::ServicePortKey& key = port.after ? port.after->key : port.before->key;
      return fmt::format("Service port {} ({})", key.printed_name(), sluice::to_string(key.protocol));
    }
    case Kind::kDrop:
      return "removal of chain " + drops_[item.index].chain.name;
    case Kind::kUnexpected:
    case Kind::kFilterUnexpected:
      return fmt::format("removal of a rule in {}", name_of(unexpected_[item.index].chain));
    default:
      return "what all Services need";
  }
}

bool Update::exclude(Item item) {
  switch (static_cast<Kind>(item.kind)) {
    case Kind::kFilterAdd:
    case Kind::kChains:
    case Kind::kNatDispatch:
      return exclude_port(item.index);
    case Kind::kDrop:
      return excluded_drops_.insert(item.index).second;
    case Kind::kUnexpected:
    case Kind::kFilterUnexpected:
      return excluded_unexpected_.insert(item.index).second;
    default:
      return false;
  }
}

bool Update::is_of_port(Item item) {
  const auto kind = static_cast<Kind>(item.kind);
  return kind == Kind::kFilterAdd || kind == Kind::kChains || kind == Kind::kNatDispatch;
}

bool Update::exclude_port(std::size_t port) {
  if (port >= changed_ || !excluded_ports_.insert(port).second) return false;
  for (std::size_t table = 0; table < rule_count_change_.size(); ++table)
    rule_count_change_[table] -= summaries_[port].rule_count_change[table];
  const plan::ServicePortPlanPtr& wanted = ports_[port].after;
  if (!wanted) return true;
  if (++refused_alike_[{wanted->key.protocol, wanted->affinity_seconds.has_value()}] == kTriedAlikeMax)
    set_aside_those_like(port);
  return true;
}

void Update::set_aside_those_like(std::size_t port) {
  const plan::ServicePortPlan& refused = *ports_[port].after;
  for (std::size_t i = 0; i < changed_; ++i) {
    const plan::ServicePortPlanPtr& other = ports_[i].after;
    if (!other || !summaries_[i].unfinished() || excluded_ports_.contains(i)) continue;
    if (other->key.protocol == refused.key.protocol &&
        other->affinity_seconds.has_value() == refused.affinity_seconds.has_value()) {
      exclude_port(i);
    }
  }
}

void Update::committed(Item item) {
  if (!is_of_port(item) || excluded_ports_.contains(item.index)) return;
  Summary& summary = summaries_[item.index];
  const auto kind = static_cast<Kind>(item.kind);
  (kind == Kind::kFilterAdd ? summary.filter_added
   : kind == Kind::kChains  ? summary.chains_written
                            : summary.nat_dispatched) = true;
}

// Dispatch rules of nat come last and in one block, so of an excluded port none of them is in the kernel.
Remains Update::remains_of(std::size_t port) const {
  const PortUpdate& update = ports_[port];
  const Delta delta = this->delta(port, Detail::kChainNames);
  Remains remains;
  if (context_.live != nullptr) {
    remains.dispatch = delta.keep;
  } else if (update.remains != nullptr) {
    remains = *update.remains;
  } else if (update.before) {
    const PortRules before = context_.encoder.encode_port(*update.before, Detail::kRules, context_.comments);
    remains.dispatch = before.dispatch;
    for (const PortChain& chain : before.chains) remains.chains.push_back({chain.kind, chain.name});
    for (const Table table : {Table::kFilter, Table::kNat})
      remains.counted[table_index(table)] = static_cast<std::ptrdiff_t>(before.rule_count(table));
  }
  if (summaries_[port].filter_added) {
    std::copy_if(delta.add.begin(), delta.add.end(), std::back_inserter(remains.dispatch),
                 [](const DispatchRule& rule) { return table_of(rule.chain) == Table::kFilter; });
  }
  if (update.after) {
    for (const PortChain& chain : context_.encoder.encode_port(*update.after, Detail::kChainNames).chains) {
      const auto same_name = [&](const StaleChain& known) { return known.name == chain.name; };
      if (std::none_of(remains.chains.begin(), remains.chains.end(), same_name))
        remains.chains.push_back({chain.kind, chain.name});
    }
  }
  return remains;
}

std::vector<RefusedUpdate> Update::refused(const std::vector<ItemRefusal>& refusals) const {
  std::map<std::size_t, std::string_view> reasons;
  for (const ItemRefusal& each : refusals) {
    if (is_of_port(each.item)) reasons.emplace(each.item.index, each.reason);
  }
  std::vector<RefusedUpdate> refused;
  for (const std::size_t port : excluded_ports_) {
    const auto reason = reasons.find(port);
    if (reason != reasons.end()) {
      refused.push_back({port, std::string(reason->second), false, remains_of(port)});
    } else {
      refused.push_back({port, "not tried yet, several Service ports like it were refused", true, remains_of(port)});
    }
  }
  return refused;
}

bool Update::surprised(const std::vector<ItemRefusal>& refusals) const {
  return context_.live == nullptr && std::any_of(refusals.begin(), refusals.end(), [](const ItemRefusal& each) {
           return is_of_port(each.item) && each.removes;
         });
}

std::vector<UnremovedObject> Update::unremoved(const std::vector<ItemRefusal>& refusals) const {
  std::vector<UnremovedObject> all;
  for (const ItemRefusal& each : refusals) {
    if (is_of_port(each.item)) continue;
    const bool chain = static_cast<Kind>(each.item.kind) == Kind::kDrop;
    all.push_back({chain ? words(drops_[each.item.index]) : words(unexpected_[each.item.index]), each.reason});
  }
  return all;
}

std::string Update::words(const Drop& drop) {
  return "nat chain " + drop.chain.name;
}

std::string Update::words(const Unexpected& rule) {
  return fmt::format("{} {}", to_string(table_of(rule.chain)), line("-A", name_of(rule.chain), rule.rule));
}

Difference Update::difference() const {
  Difference difference;
  if (context_.live == nullptr) return difference;
  const LiveState& live = *context_.live;
  for (const Table table : kTables) {
    const ItemText fixed = fixed_text(table);
    for (const std::string& name : fixed.declare)
      difference.missing.push_back(fmt::format("{} chain {}", to_string(table), name));
    for (const std::string& rule : fixed.rules)
      (rule.starts_with("-D ") ? difference.unexpected : difference.missing)
          .push_back(fmt::format("{} {}", to_string(table), rule));
  }
  if (!live.node_port_rules_right()) {
    for (const std::string& rule : context_.encoder.node_port_rules(context_.addresses)) {
      difference.missing.push_back("nat at the end: " + line("-A", kServicesChain, rule));
    }
  }
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    const Delta delta = this->delta(i);
    for (const PortChain& chain : delta.write) {
      difference.missing.push_back(fmt::format("nat chain {} of {}", chain.name, ports_[i].after->key.printed_name()));
    }
    for (const DispatchRule& rule : delta.add) {
      difference.missing.push_back(
          fmt::format("{} {}", to_string(table_of(rule.chain)), line("-A", name_of(rule.chain), rule.rule)));
    }
  }
  for (const Unexpected& rule : unexpected_) difference.unexpected.push_back(words(rule));
  for (const Drop& drop : drops_) difference.unexpected.push_back(words(drop));
  return difference;
}

}  // namespace sluice::dataplane::iptables
