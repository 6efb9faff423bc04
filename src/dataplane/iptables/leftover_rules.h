// SPDX-License-Identifier: Apache-2.0
// Chains and rules to remove, in one flavour of one family: found by reading everything once, removed block by block.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/iptables/restore_script.h"
#include "dataplane/mechanism.h"
#include "dataplane/rules_in_iptables.h"

namespace sluice::dataplane::iptables {

// Reads the rules of one flavour; a derived class picks those that are its own.
class LeftoverRules : public SaveVisitor, public ItemSource {
 public:
  // Reads all rules. Creates nothing.
  Result<> read(const Tool& tool);
  [[nodiscard]] std::size_t chains() const { return chains_.size(); }
  [[nodiscard]] std::size_t rules() const { return rules_.size(); }
  [[nodiscard]] bool empty() const { return chains_.empty() && rules_.empty(); }
  // What to remove, in an order in which no prefix leaves a jump to a removed chain; in blocks with a bounded number of
  // items.
  [[nodiscard]] std::vector<Block> blocks(Flavour flavour) const;
  // Excludes from blocks() a chain and the rules that are in it or jump to it.
  void keep_chain(Table table, std::string_view name);
  // Whether any refused item is still in `now`, which was read since.
  [[nodiscard]] bool refused_is_in(const LeftoverRules& now) const;
  [[nodiscard]] std::size_t refused_chains(const Block& block) const;

  void begin() final;
  ItemText text(Item item) final;
  [[nodiscard]] std::uint32_t phase(Item item) const final { return item.kind; }
  [[nodiscard]] bool divisible(std::uint32_t) const final { return true; }
  [[nodiscard]] std::string label(Item item) const final;
  bool exclude(Item item) final { return refused_.insert(item).second; }

  static constexpr std::uint32_t kRule = 0;
  static constexpr std::uint32_t kChain = 1;

 protected:
  struct OwnedChain {
    Table table = Table::kNat;
    std::string name;
    std::size_t rank = 0;  // chains are removed in this order: those that refer to others first
    friend bool operator==(const OwnedChain&, const OwnedChain&) = default;
  };
  struct OwnedRule {
    Table table = Table::kNat;
    std::string chain;
    std::string rule;
    std::string target;
    friend bool operator==(const OwnedRule&, const OwnedRule&) = default;
  };
  // Called before the first line, and again when the reading restarts.
  virtual void forget() = 0;
  // Called when everything was read: the last chance to add and to remove.
  virtual void complete() = 0;

  std::vector<OwnedChain> chains_;
  std::vector<OwnedRule> rules_;

 private:
  std::set<Item> refused_;
};

std::optional<Table> table_named(std::string_view name);
bool is_built_in(std::string_view chain);
// The chain or target that the rule ends in; empty if it has none.
std::string target_of(std::string_view rule);

// The rules of several tools, as the notes of Leftovers.
class RuleNotes : public LeftoverNotes {
 public:
  struct PerTool {
    Tool tool;
    std::unique_ptr<LeftoverRules> rules;
    std::unique_ptr<LeftoverRules> again;  // of the same kind, for another look
    std::vector<Block> blocks;
    std::size_t next = 0;
  };
  std::vector<PerTool> tools;

  // The chains that remove_block() has not tried yet, by family.
  [[nodiscard]] std::vector<Objects> objects() const;
  // Tries the next block, if there is one left.
  void remove_block(Removal& removal);
};

// Looks through every flavour of the family; `make` returns an object that picks. Flavours for which `skip` is true are
// left out. Adds to the leftovers' problems what could not be read.
using MakeLeftoverRules = std::function<std::unique_ptr<LeftoverRules>(const Tool&)>;
void look_for_rules(Family family, const MakeLeftoverRules& make, const std::function<bool(const Tool&)>& skip,
                    RuleNotes& notes, Leftovers& leftovers);

// What another mode owns in iptables.
std::unique_ptr<RulesInIptables> open_rules(OwnedRules owned);

}  // namespace sluice::dataplane::iptables
