// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/owned_table.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

namespace sluice::dataplane::nft {
namespace {

using sys::NftBatch;
using sys::NftTable;

// Removals come first: a range, or another value of the same key, may be in the way.
void put(NftBatch& batch, const ElementChanges& changes) {
  for (const auto& [set, elements] : changes.remove) batch.remove_elements(set, elements);
  for (const auto& [set, elements] : changes.add) batch.add_elements(set, elements);
}

void append_missing(std::vector<std::string>& lines, const std::string& kind, const auto& wanted, const auto& live) {
  for (const auto& [name, value] : wanted) {
    const auto found = live.find(name);
    if (found == live.end() || found->second != value) lines.push_back(fmt::format("{} {}", kind, name));
  }
}

void append_missing_rules(std::vector<std::string>& lines, const NftTable& wanted, const NftTable& live) {
  for (const auto& [chain, rules] : wanted.rules) {
    const auto found = live.rules.find(chain);
    for (std::size_t i = 0; i < rules.size(); ++i) {
      if (found == live.rules.end() || i >= found->second.size() || found->second[i] != rules[i]) {
        lines.push_back(fmt::format("rule {} of chain {}: {}", i + 1, chain, rules[i]));
      }
    }
  }
}

void append_elements(std::vector<std::string>& lines, const sys::NftSet& set, const Elements& elements) {
  for (const sys::NftElement& element : elements) {
    lines.push_back(fmt::format("element {} of nftables set {}", element_text(set, element), set.name));
  }
}

}  // namespace

OwnedTable::OwnedTable(Family family, std::string name, std::vector<sys::NftSet> sets,
                       std::vector<sys::NftChain> chains, std::vector<sys::NftRule> rules)
    : family_(family),
      name_(std::move(name)),
      sets_(std::move(sets)),
      chains_(std::move(chains)),
      rules_(std::move(rules)) {
  for (const sys::NftChain& chain : chains_) wanted_.chains.emplace(chain.name, chain);
  for (const sys::NftSet& set : sets_) wanted_.sets.emplace(set.name, set);
  for (const sys::NftRule& rule : rules_) wanted_.rules[rule.chain()].push_back(rule.text());
}

Result<std::size_t> OwnedTable::replace(const ElementsBySet& wanted) const {
  SLUICE_TRY(const std::optional<NftTable> live, sys::read_nft_table(family_, name_));
  return live && *live == wanted_ ? write_difference(wanted) : write_anew(wanted, live.has_value());
}

Result<std::size_t> OwnedTable::change(ElementChanges changes) const {
  for (auto& [set, elements] : changes.remove) elements = subtract(elements, elements_of(changes.add, set));
  const std::size_t count = changes.size();
  if (count != 0) SLUICE_CHECK_OK(commit(changes));
  return count;
}

Result<bool> OwnedTable::intact() const {
  SLUICE_TRY(const std::optional<NftTable> live, sys::read_nft_table(family_, name_));
  return live && *live == wanted_;
}

Result<Difference> OwnedTable::compare(const ElementsBySet& wanted) const {
  SLUICE_TRY(const std::optional<NftTable> live, sys::read_nft_table(family_, name_));
  Difference difference;
  if (!live || live->dormant) {
    difference.missing.push_back(fmt::format("nftables table {} {}", family_ == Family::kIPv4 ? "ip" : "ip6", name_));
    return difference;
  }
  append_missing(difference.missing, "nftables chain", wanted_.chains, live->chains);
  append_missing(difference.missing, "nftables set", wanted_.sets, live->sets);
  append_missing(difference.unexpected, "nftables chain", live->chains, wanted_.chains);
  append_missing(difference.unexpected, "nftables set", live->sets, wanted_.sets);
  append_missing_rules(difference.missing, wanted_, *live);
  append_missing_rules(difference.unexpected, *live, wanted_);
  for (const sys::NftSet& set : sets_) {
    const auto found = live->sets.find(set.name);
    if (set.dynamic || found == live->sets.end() || found->second != set) continue;
    SLUICE_TRY(const Elements there, sys::read_nft_elements(family_, name_, set.name));
    append_elements(difference.missing, set, subtract(elements_of(wanted, set.name), there));
    append_elements(difference.unexpected, set, subtract(there, elements_of(wanted, set.name)));
  }
  return difference;
}

Result<std::size_t> OwnedTable::write_anew(const ElementsBySet& elements, bool there) const {
  NftBatch batch(family_, name_);
  if (there) batch.delete_table();
  batch.add_table();
  for (const sys::NftSet& set : sets_) batch.add_set(set);
  for (const sys::NftChain& chain : chains_) batch.add_chain(chain);
  for (const sys::NftRule& rule : rules_) batch.add_rule(rule);
  const ElementChanges changes{elements, {}};
  put(batch, changes);
  SLUICE_CHECK_OK(batch.commit());
  return sets_.size() + rules_.size() + changes.size();
}

Result<std::size_t> OwnedTable::write_difference(const ElementsBySet& wanted) const {
  ElementChanges changes;
  for (const sys::NftSet& set : sets_) {
    if (set.dynamic) continue;  // rules manage its elements
    SLUICE_TRY(const Elements live, sys::read_nft_elements(family_, name_, set.name));
    const Elements& elements = elements_of(wanted, set.name);
    changes.add[set.name] = subtract(elements, live);
    changes.remove[set.name] = subtract(live, elements);
  }
  SLUICE_CHECK_OK(commit(changes));
  return changes.size();
}

// If the kernel does not have an element to be removed, all to be removed are added first, in the same transaction.
// A message that removes what may be missing (NFT_MSG_DESTROYSETELEM) exists only since kernel 6.3.
Result<> OwnedTable::commit(const ElementChanges& changes) const {
  NftBatch batch(family_, name_);
  put(batch, changes);
  auto committed = batch.commit();
  if (committed || committed.error().code != Errc::kNotFound || changes.remove.empty()) return committed;
  NftBatch second(family_, name_);
  for (const auto& [set, elements] : changes.remove) second.add_elements(set, elements);
  put(second, changes);
  return second.commit();
}

}  // namespace sluice::dataplane::nft
