// SPDX-License-Identifier: Apache-2.0
// A Service port's elements are compared as a full apply would compare them: its endpoints may stand in any order of
// slots. What is left when all ports are through is not wanted.
#include "dataplane/nftables/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "dataplane/nftables/shared_elements.h"
#include "dataplane/nftables/unit.h"

namespace sluice::dataplane::nftables {
namespace {

class Comparison {
 public:
  Comparison(Live live, const FixedPart& fixed, const nft::ElementsBySet& unremoved)
      : live_(std::move(live)), fixed_(fixed), unremoved_(unremoved) {
    cluster_ips_.assign(live_.unsettled(kClusterIps));
    hairpins_.assign(live_.unsettled(kHairpins));
    chains_ = by_chain(fixed_.rules);
    for (const sys::NftChain& chain : fixed_.chains) chains_.try_emplace(chain.name);
    for (const sys::NftSet& set : fixed_.sets) sets_.emplace(set.name, set);
  }

  void compare_port(const plan::ServicePortPlanPtr& port) {
    const auto unit = unit_over_live(port, live_, fixed_.settings);
    if (!unit) return;  // one that cannot be served is not live
    for (const auto& [set, elements] : unit->changes.add) append(difference_.missing, set, elements);
    for (const auto& [set, elements] : unit->changes.remove) append(difference_.unexpected, set, elements);
    for (const Live::Place& place : unit->settles) live_.settle(place);
    const Encoded& encoded = unit->steps[0].to;
    cluster_ips_.want(encoded.cluster_ips);
    hairpins_.want(encoded.hairpins);
    const Step& step = unit->steps[0];
    for (const sys::NftSet& set : step.own.sets) sets_.insert_or_assign(set.name, set);
    for (const Chain& chain : step.own.chains) chains_.insert_or_assign(chain.name, texts(chain.rules));
    for (const Treatment& treatment : encoded.treatments) {
      if (!treatment.sticky.empty() || !met_.insert(treatment).second) continue;
      for (const Chain& chain : chains(treatment, fixed_.settings))
        chains_.insert_or_assign(chain.name, texts(chain.rules));
    }
  }

  Difference finish(const Parts& parts) && {
    for (const SharedElements* shared : {&cluster_ips_, &hairpins_}) {
      append(difference_.missing, shared->set(), shared->missing());
      append_unexpected(shared->set(), shared->superfluous());
    }
    compare_node_addresses();
    for (const char* set : {kFrontends, kNodePorts, kEndpoints, kNodePortEndpoints, kSourceRanges})
      append_unexpected(set, live_.unsettled(set));
    compare_sets(parts);
    compare_chains(parts);
    return std::move(difference_);
  }

 private:
  void append(std::vector<std::string>& lines, const std::string& set, const nft::Elements& elements) const {
    for (const sys::NftElement& element : elements)
      lines.push_back(fmt::format("element {} of nftables set {}", nft::element_text(fixed_.set(set), element), set));
  }

  // That are not wanted.
  void append_unexpected(const std::string& set, const nft::Elements& elements) {
    append(difference_.unexpected, set, nft::subtract(elements, nft::elements_of(unremoved_, set)));
  }

  void compare_node_addresses() {
    const nft::Elements addresses = fixed_.node_addresses();
    const nft::Elements there = live_.unsettled(kNodeAddresses);
    append(difference_.missing, kNodeAddresses, nft::subtract(addresses, there));
    append_unexpected(kNodeAddresses, nft::subtract(there, addresses));
  }

  void compare_sets(const Parts& parts) {
    const auto& there = live_.table()->sets;
    for (const auto& [name, set] : sets_) {
      const auto found = there.find(name);
      if (found == there.end() || !same_set(found->second, set))
        difference_.missing.push_back(fmt::format("nftables set {}", name));
    }
    for (const auto& [name, set] : there) {
      if (!sets_.contains(name) && !parts.has(set))
        difference_.unexpected.push_back(fmt::format("nftables set {}", name));
    }
  }

  void compare_chains(const Parts& parts) {
    const sys::NftTable& table = *live_.table();
    for (const auto& [name, rules] : chains_) {
      if (!table.chains.contains(name)) {
        difference_.missing.push_back(fmt::format("nftables chain {}", name));
        continue;
      }
      if (rules_of(table, name) != rules)
        difference_.missing.push_back(fmt::format("the rules of nftables chain {}", name));
      const auto fixed = std::ranges::find(fixed_.chains, name, &sys::NftChain::name);
      const sys::NftChain wanted = fixed == fixed_.chains.end() ? sys::NftChain{name, std::nullopt} : *fixed;
      if (table.chains.at(name) != wanted)
        difference_.missing.push_back(fmt::format("type, hook, priority and policy of nftables chain {}", name));
    }
    for (const auto& [name, chain] : table.chains) {
      const auto known = parts.chains().find(name);
      const bool idle = known != parts.chains().end() && known->second.rules == digest_of(rules_of(table, name));
      if (!chains_.contains(name) && !idle) difference_.unexpected.push_back(fmt::format("nftables chain {}", name));
    }
  }

  Live live_;
  const FixedPart& fixed_;
  const nft::ElementsBySet& unremoved_;
  Difference difference_;
  SharedElements cluster_ips_{kClusterIps};
  SharedElements hairpins_{kHairpins};
  // That are wanted; chains with their rules as text.
  std::map<std::string, std::vector<std::string>> chains_;
  std::map<std::string, sys::NftSet> sets_;
  std::set<Treatment> met_;
};

}  // namespace

Difference compare(Live live, const FixedPart& fixed, const std::vector<plan::ServicePortPlanPtr>& ports,
                   const Parts& parts, const nft::ElementsBySet& unremoved) {
  if (!live.table() || live.table()->dormant) {
    const char* family = fixed.settings.family == Family::kIPv4 ? "ip" : "ip6";
    return {.missing = {fmt::format("nftables table {} {}", family, kTableName)}, .unexpected = {}};
  }
  Comparison comparison(std::move(live), fixed, unremoved);
  for (const plan::ServicePortPlanPtr& port : ports) comparison.compare_port(port);
  return std::move(comparison).finish(parts);
}

}  // namespace sluice::dataplane::nftables
