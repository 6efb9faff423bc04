// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/parts.h"

#include <algorithm>

#include "dataplane/nftables/fixed_part.h"

namespace sluice::dataplane::nftables {

bool same_set(const sys::NftSet& left, const sys::NftSet& right) {
  if (!left.dynamic || !right.dynamic) return left == right;
  sys::NftSet one = left;
  one.elements_max = right.elements_max;
  return one == right;
}

void Parts::assign(const sys::NftTable& table, const std::vector<sys::NftChain>& fixed_chains,
                   const std::vector<sys::NftSet>& fixed_sets) {
  clear();
  for (const auto& [name, chain] : table.chains) {
    if (std::ranges::find(fixed_chains, name, &sys::NftChain::name) == fixed_chains.end())
      chains_.emplace(name, LiveChain{chain, rules_of(table, name), 0});
  }
  for (const auto& [name, set] : table.sets) {
    if (std::ranges::find(fixed_sets, name, &sys::NftSet::name) == fixed_sets.end()) sets_.emplace(name, LiveSet{set});
  }
}

void Parts::clear() {
  chains_.clear();
  sets_.clear();
}

bool Parts::has(const Chain& chain) const {
  const auto found = chains_.find(chain.name);
  return found != chains_.end() && !found->second.chain.hook && found->second.rules == texts(chain.rules);
}

bool Parts::has(const sys::NftSet& set) const {
  const auto found = sets_.find(set.name);
  return found != sets_.end() && same_set(found->second.set, set);
}

void Parts::put(LiveChain chain) {
  LiveChain& there = chains_[chain.chain.name];
  chain.uses = there.uses;
  there = std::move(chain);
}

void Parts::put(const sys::NftSet& set) {
  sets_[set.name].set = set;
}

void Parts::use(const PartNames& names) {
  for (const std::string& chain : names.chains) ++chains_.at(chain).uses;
  for (const std::string& set : names.sets) ++sets_.at(set).uses;
}

void Parts::give_up(const PartNames& names) {
  for (const std::string& chain : names.chains) --chains_.at(chain).uses;
  for (const std::string& set : names.sets) --sets_.at(set).uses;
}

PartNames Parts::idle() const {
  PartNames names;
  for (const auto& [name, chain] : chains_) {
    if (chain.uses == 0) names.chains.insert(name);
  }
  for (const auto& [name, set] : sets_) {
    if (set.uses == 0) names.sets.insert(name);
  }
  return names;
}

void Parts::forget(const PartNames& names) {
  for (const std::string& chain : names.chains) chains_.erase(chain);
  for (const std::string& set : names.sets) sets_.erase(set);
}

}  // namespace sluice::dataplane::nftables
