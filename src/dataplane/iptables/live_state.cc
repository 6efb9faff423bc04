// SPDX-License-Identifier: Apache-2.0
// After a restart, and whenever it is not known what is live, everything is read back: for 5,000 Services of 10 real
// servers 55,000 chains and 215,000 rules, 30 MB of text. Holding that text, or a tree of it, beside the plan would be
// most of the process' memory. So what is wanted is hashed first: 8 bytes per chain name, and one hash per rule of the
// dispatch chains. While iptables-save prints, each chain is folded into one digest. Only what is not
// wanted is kept as text, because deleting it needs the text.
//
// Kinds of chains are compared differently. A Service port's own chains are equal or rewritten, with rule order
// significant. In the dispatch chains order does not matter, except that the rules for node ports are last in nat
// KUBE-SERVICES; they are compared as sets, so that one more Service is one more rule. KUBE-FIREWALL and the kernel's
// chains belong to others too: only our rules in them are searched.
#include "dataplane/iptables/live_state.h"

#include <algorithm>

namespace sluice::dataplane::iptables {
namespace {

std::uint64_t name_hash(std::string_view name) {
  return std::hash<std::string_view>()(name);
}

std::size_t fixed_index(std::string_view table, std::string_view name) {
  const auto& names = LiveState::all_fixed_names();
  const auto found = std::find_if(names.begin(), names.end(), [&](const LiveState::FixedName& fixed) {
    return fixed.name == name && to_string(fixed.table) == table;
  });
  return static_cast<std::size_t>(found - names.begin());
}

}  // namespace

const std::vector<LiveState::FixedName>& LiveState::all_fixed_names() {
  static const std::vector<FixedName> names{
      {Table::kFilter, kServicesChain},      {Table::kFilter, kExternalServicesChain},
      {Table::kFilter, kForwardChain},       {Table::kFilter, kNodePortsChain},
      {Table::kFilter, kProxyFirewallChain}, {Table::kFilter, kFirewallChain},
      {Table::kFilter, kCanaryChain},        {Table::kNat, kServicesChain},
      {Table::kNat, kNodePortsChain},        {Table::kNat, kPostroutingChain},
      {Table::kNat, kMarkMasqChain},         {Table::kNat, kCanaryChain},
      {Table::kMangle, kCanaryChain},
  };
  return names;
}

Comments LiveState::comments_of(ChainKind kind) {
  // kube-proxy writes these chains with or without comments, by the size of the cluster, and older ones with others.
  const bool free = kind == ChainKind::kService || kind == ChainKind::kServiceLocal || kind == ChainKind::kRealServer;
  return free ? Comments::kIgnore : Comments::kKeep;
}

LiveState::LiveState(const Encoder& encoder, const NodePortAddresses& addresses,
                     const std::vector<plan::ServicePortPlanPtr>& ports, const std::vector<const Remains*>& remains)
    : family_(encoder.settings().family), hasher_(family_) {
  for (const plan::ServicePortPlanPtr& port : ports) {
    const PortRules rules = encoder.encode_port(*port, Detail::kChainNames);
    for (const PortChain& chain : rules.chains) port_names_.push_back(name_hash(chain.name));
    for (const DispatchRule& rule : rules.dispatch) {
      dispatch_[index_of(rule.chain)].wanted.emplace(hasher_.hash(rule.rule, Comments::kKeep), false);
    }
  }
  for (const Remains* each : remains) {
    for (const StaleChain& chain : each->chains) port_names_.push_back(name_hash(chain.name));
    for (const DispatchRule& rule : each->dispatch)
      dispatch_[index_of(rule.chain)].wanted.emplace(hasher_.hash(rule.rule, Comments::kKeep), false);
  }
  std::sort(port_names_.begin(), port_names_.end());
  for (const std::string& rule : encoder.node_port_rules(addresses))
    node_port_hashes_.push_back(hasher_.hash(rule, Comments::kKeep));
  for (const JumpRule& jump : jump_rules()) jump_hashes_.push_back(hasher_.hash(jump.rule, Comments::kKeep));
  if (const std::string martian = encoder.martian_rule(addresses); !martian.empty())
    martian_hash_ = hasher_.hash(martian, Comments::kKeep);
  begin();
}

void LiveState::begin() {
  port_digests_.assign(port_names_.size(), 0);
  port_chains_seen_ = false;
  for (Dispatch& dispatch : dispatch_) {
    for (auto& [hash, live] : dispatch.wanted) live = false;
    dispatch.unexpected.clear();
  }
  node_port_rules_seen_.clear();
  misplaced_ = false;
  fixed_digests_.assign(all_fixed_names().size(), 0);
  jumps_found_.assign(jump_hashes_.size(), false);
  spare_jumps_.clear();
  martian_found_ = !martian_hash_;
  stale_.clear();
  current_table_.clear();
  current_chain_.clear();
  current_ = {};
}

std::size_t LiveState::wanted_index(std::string_view name) const {
  const std::uint64_t hash = name_hash(name);
  const auto found = std::lower_bound(port_names_.begin(), port_names_.end(), hash);
  return found != port_names_.end() && *found == hash ? static_cast<std::size_t>(found - port_names_.begin())
                                                      : port_names_.size();
}

LiveState::Place LiveState::place_of(std::string_view table, std::string_view chain) const {
  Place place;
  if (!chain.starts_with("KUBE-")) {
    place.kind = Place::Kind::kBuiltIn;
    return place;
  }
  if (table == to_string(Table::kNat) && parse_port_chain(chain, place.port_kind)) {
    place.index = wanted_index(chain);
    if (place.index < port_names_.size()) place.kind = Place::Kind::kPort;
    return place;
  }
  for (std::size_t i = 0; i < kDispatchChains; ++i) {
    const auto dispatch = static_cast<DispatchChain>(i);
    if (name_of(dispatch) == chain && to_string(table_of(dispatch)) == table) {
      place.kind = Place::Kind::kDispatch;
      place.index = i;
      return place;
    }
  }
  place.index = fixed_index(table, chain);
  if (place.index < all_fixed_names().size()) {
    place.kind = chain == kFirewallChain ? Place::Kind::kFirewall : Place::Kind::kFixed;
  }
  return place;
}

void LiveState::chain(std::string_view table, std::string_view name) {
  const std::size_t fixed = fixed_index(table, name);
  if (fixed < fixed_digests_.size()) {
    fixed_digests_[fixed] = kEmptyDigest;
    return;
  }
  ChainKind kind{};
  if (table != to_string(Table::kNat) || !parse_port_chain(name, kind)) return;
  const std::size_t index = wanted_index(name);
  if (index == port_names_.size()) {
    stale_.push_back({kind, std::string(name)});
  } else {
    port_digests_[index] = kEmptyDigest;
    port_chains_seen_ = true;
  }
}

void LiveState::rule(std::string_view table, std::string_view chain, std::string_view rule) {
  if (chain != current_chain_ || table != current_table_) {
    current_table_ = table;
    current_chain_ = chain;
    current_ = place_of(table, chain);
  }
  switch (current_.kind) {
    case Place::Kind::kForeign:
      return;
    case Place::Kind::kPort: {
      std::uint64_t& digest = port_digests_[current_.index];
      digest = extend_digest(digest, hasher_.hash(rule, comments_of(current_.port_kind)));
      return;
    }
    case Place::Kind::kDispatch:
      return dispatch_rule(static_cast<DispatchChain>(current_.index), rule);
    case Place::Kind::kFixed: {
      std::uint64_t& digest = fixed_digests_[current_.index];
      digest = extend_digest(digest, hasher_.hash(rule, Comments::kKeep));
      return;
    }
    case Place::Kind::kFirewall:
      martian_found_ = martian_found_ || martian_hash_ == hasher_.hash(rule, Comments::kKeep);
      return;
    case Place::Kind::kBuiltIn:
      return jump_rule(rule);
  }
}

void LiveState::dispatch_rule(DispatchChain chain, std::string_view rule) {
  const std::uint64_t hash = hasher_.hash(rule, Comments::kKeep);
  if (chain == DispatchChain::kNatServices) {
    if (std::find(node_port_hashes_.begin(), node_port_hashes_.end(), hash) != node_port_hashes_.end()) {
      node_port_rules_seen_.push_back(hash);
      return;
    }
    misplaced_ = misplaced_ || !node_port_rules_seen_.empty();
  }
  Dispatch& dispatch = dispatch_[index_of(chain)];
  const auto wanted = dispatch.wanted.find(hash);
  if (wanted == dispatch.wanted.end() || wanted->second) {
    dispatch.unexpected.emplace_back(rule);
  } else {
    wanted->second = true;
  }
}

void LiveState::jump_rule(std::string_view rule) {
  if (rule.find("KUBE-") == std::string_view::npos) return;
  const std::uint64_t hash = hasher_.hash(rule, Comments::kKeep);
  const auto& jumps = jump_rules();
  for (std::size_t i = 0; i < jumps.size(); ++i) {
    if (jump_hashes_[i] == hash && jumps[i].from == current_chain_ && to_string(jumps[i].table) == current_table_) {
      if (jumps_found_[i]) spare_jumps_.push_back(i);
      jumps_found_[i] = true;
    }
  }
}

bool LiveState::has_chain(Table table, std::string_view name) const {
  const std::size_t index = fixed_index(to_string(table), name);
  return index < fixed_digests_.size() && fixed_digests_[index] != 0;
}

bool LiveState::fixed_chain_right(const Encoder::FixedChain& chain) const {
  std::uint64_t digest = kEmptyDigest;
  for (const std::string& rule : chain.rules) digest = extend_digest(digest, hasher_.hash(rule, Comments::kKeep));
  const std::size_t index = fixed_index(to_string(chain.table), chain.name);
  return index < fixed_digests_.size() && fixed_digests_[index] == digest;
}

bool LiveState::dispatch_rule_live(const DispatchRule& rule) const {
  const auto& wanted = dispatch_[index_of(rule.chain)].wanted;
  if (wanted.empty()) return false;
  const auto found = wanted.find(hasher_.hash(rule.rule, Comments::kKeep));
  return found != wanted.end() && found->second;
}

bool LiveState::port_chain_right(const PortChain& chain) const {
  if (!port_chains_seen_) return false;
  const std::size_t index = wanted_index(chain.name);
  if (index == port_names_.size() || port_digests_[index] == 0) return false;
  std::uint64_t digest = kEmptyDigest;
  for (const std::string& rule : chain.rules)
    digest = extend_digest(digest, hasher_.hash(rule, comments_of(chain.kind)));
  return digest == port_digests_[index];
}

}  // namespace sluice::dataplane::iptables
