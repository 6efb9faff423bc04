// SPDX-License-Identifier: Apache-2.0
// The chains and sets of our table that come and go with Services: which are there, and how many Service ports use each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "dataplane/nftables/treatment.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {

struct PartNames {
  std::set<std::string> chains;
  std::set<std::string> sets;
};

// The kernel writes the greatest number of elements into a set that was made without one.
bool same_set(const sys::NftSet& left, const sys::NftSet& right);

// The rules of a chain: their texts would be most of this process' memory where many Services have affinity.
struct RulesDigest {
  std::size_t count = 0;
  std::uint64_t digest = 0;
  friend bool operator==(const RulesDigest&, const RulesDigest&) = default;
};
RulesDigest digest_of(const std::vector<std::string>& texts);
RulesDigest digest_of(const std::vector<sys::NftRule>& rules);

class Parts {
 public:
  struct LiveChain {
    sys::NftChain chain;
    RulesDigest rules;
    std::size_t uses = 0;
  };
  struct LiveSet {
    sys::NftSet set;
    std::size_t uses = 0;
  };

  // These are there, and none is used.
  void assign(const sys::NftTable& table, const std::vector<sys::NftChain>& fixed_chains,
              const std::vector<sys::NftSet>& fixed_sets);
  void clear();

  [[nodiscard]] const std::map<std::string, LiveChain>& chains() const { return chains_; }
  [[nodiscard]] const std::map<std::string, LiveSet>& sets() const { return sets_; }
  [[nodiscard]] std::size_t rules() const { return rules_; }  // in all of them
  [[nodiscard]] bool has_chain(const std::string& name) const { return chains_.contains(name); }
  // Whether it is there with just these rules.
  [[nodiscard]] bool has(const Chain& chain) const;
  [[nodiscard]] bool has(const sys::NftSet& set) const;
  void put(LiveChain chain);  // in place of one of that name
  void put(const sys::NftSet& set);
  void use(const PartNames& names);
  void give_up(const PartNames& names);
  [[nodiscard]] const PartNames& idle() const { return idle_; }  // that are not used
  void forget(const PartNames& names);

 private:
  PartNames idle_;
  std::map<std::string, LiveChain> chains_;
  std::size_t rules_ = 0;
  std::map<std::string, LiveSet> sets_;
};

}  // namespace sluice::dataplane::nftables
