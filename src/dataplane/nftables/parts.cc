// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/parts.h"

#include <algorithm>
#include <utility>

#include "dataplane/nftables/digest.h"
#include "dataplane/nftables/fixed_part.h"

namespace sluice::dataplane::nftables {

bool same_set(const sys::NftSet& left, const sys::NftSet& right) {
  if (!left.dynamic || !right.dynamic) return left == right;
  sys::NftSet one = left;
  one.elements_max = right.elements_max;
  return one == right;
}

RulesDigest digest_of(const std::vector<std::string>& texts) {
  Digest digest;
  for (const std::string& text : texts) digest.add(text);
  return {texts.size(), digest.value()};
}

RulesDigest digest_of(const std::vector<sys::NftRule>& rules) {
  Digest digest;
  for (const sys::NftRule& rule : rules) digest.add(rule.text());
  return {rules.size(), digest.value()};
}

void Parts::assign(const sys::NftTable& table, const std::vector<sys::NftChain>& fixed_chains,
                   const std::vector<sys::NftSet>& fixed_sets) {
  clear();
  for (const auto& [name, chain] : table.chains) {
    if (std::ranges::find(fixed_chains, name, &sys::NftChain::name) == fixed_chains.end())
      put({chain, digest_of(rules_of(table, name))});
  }
  for (const auto& [name, set] : table.sets) {
    if (std::ranges::find(fixed_sets, name, &sys::NftSet::name) == fixed_sets.end()) put(set);
  }
}

void Parts::clear() {
  chains_.clear();
  rules_ = 0;
  sets_.clear();
  idle_ = PartNames{};
}

bool Parts::has(const Chain& chain) const {
  const auto found = chains_.find(chain.name);
  return found != chains_.end() && !found->second.chain.hook && found->second.rules == digest_of(chain.rules);
}

bool Parts::has(const sys::NftSet& set) const {
  const auto found = sets_.find(set.name);
  return found != sets_.end() && same_set(found->second.set, set);
}

void Parts::put(LiveChain chain) {
  LiveChain& there = chains_[chain.chain.name];
  rules_ += chain.rules.count - there.rules.count;
  chain.uses = there.uses;
  there = std::move(chain);
  if (there.uses == 0) idle_.chains.insert(there.chain.name);
}

void Parts::put(const sys::NftSet& set) {
  LiveSet& there = sets_[set.name];
  there.set = set;
  if (there.uses == 0) idle_.sets.insert(set.name);
}

void Parts::use(const PartNames& names) {
  for (const std::string& chain : names.chains) {
    if (++chains_.at(chain).uses == 1) idle_.chains.erase(chain);
  }
  for (const std::string& set : names.sets) {
    if (++sets_.at(set).uses == 1) idle_.sets.erase(set);
  }
}

void Parts::give_up(const PartNames& names) {
  for (const std::string& chain : names.chains) {
    if (--chains_.at(chain).uses == 0) idle_.chains.insert(chain);
  }
  for (const std::string& set : names.sets) {
    if (--sets_.at(set).uses == 0) idle_.sets.insert(set);
  }
}

void Parts::forget(const PartNames& names) {
  for (const std::string& chain : names.chains) {
    if (const auto there = chains_.find(chain); there != chains_.end()) {
      rules_ -= there->second.rules.count;
      chains_.erase(there);
    }
    idle_.chains.erase(chain);
  }
  for (const std::string& set : names.sets) {
    sets_.erase(set);
    idle_.sets.erase(set);
  }
}

}  // namespace sluice::dataplane::nftables
