// SPDX-License-Identifier: Apache-2.0
// A chain that a rule refers to cannot be deleted, so rules are removed before chains, and chains that refer to others
// before those. If a foreign chain refers to one of ours, ours stays and is reported.
//
// A removal is cut into blocks, so that 55,000 chains do not block the control loop: 800 chains of the nft
// flavour take some 50 ms. The legacy flavour replaces the whole table with every commit, whatever is in the block, so
// its blocks are larger.
#include "dataplane/iptables/leftover_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>

#include "dataplane/iptables/chain_names.h"

namespace sluice::dataplane::iptables {
namespace {

constexpr std::array<std::string_view, 5> kBuiltInChains{"INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"};
constexpr std::size_t kLegacyItemsPerBlock = 10'000;

constexpr std::size_t items_per_block(Flavour flavour) {
  return flavour == Flavour::kNft ? kNftChainsPerBlock : kLegacyItemsPerBlock;
}

Objects chain_objects(Family family, std::size_t count) {
  return {fmt::format("chain of iptables ({})", to_string(family)),
          fmt::format("chains of iptables ({})", to_string(family)), count};
}

// Those of another mode.
class RulesOfOthers : public LeftoverRules {
 public:
  explicit RulesOfOthers(const OwnedRules& owned) : owned_(owned) {}

  void chain(std::string_view table_name, std::string_view name) override {
    const auto table = table_named(table_name);
    if (table && owns_chain(*table, name)) chains_.push_back({*table, std::string(name), 0});
  }

  void rule(std::string_view table_name, std::string_view chain, std::string_view rule) override {
    const auto table = table_named(table_name);
    if (!table || owns_chain(*table, chain)) return;  // it is removed with its chain
    std::string target = target_of(rule);
    if (owns_chain(*table, target) || matches_set(rule) || (is_built_in(chain) && commented(rule)))
      rules_.push_back({*table, std::string(chain), std::string(rule), std::move(target)});
  }

 protected:
  void forget() override {}
  void complete() override {}

 private:
  [[nodiscard]] bool owns_chain(Table table, std::string_view name) const {
    return std::any_of(owned_.chains.begin(), owned_.chains.end(), [&](const OwnedRules::Chain& chain) {
      return chain.name == name && chain.table == to_string(table);
    });
  }
  [[nodiscard]] bool matches_set(std::string_view rule) const {
    constexpr std::string_view kMatch = "--match-set ";
    for (std::size_t at = rule.find(kMatch); at != std::string_view::npos; at = rule.find(kMatch, at)) {
      at += kMatch.size();
      if (owned_.ip_sets.contains(std::string(rule.substr(at, rule.find(' ', at) - at)))) return true;
    }
    return false;
  }
  [[nodiscard]] bool commented(std::string_view rule) const {
    return std::any_of(owned_.comments.begin(), owned_.comments.end(), [&](const std::string& comment) {
      return rule.find(fmt::format("--comment \"{}\"", comment)) != std::string_view::npos;
    });
  }
  const OwnedRules& owned_;
};

class OwnedRulesInIptables : public RulesInIptables {
 public:
  explicit OwnedRulesInIptables(OwnedRules owned) : owned_(std::move(owned)) {}

  Leftovers leftovers() override {
    Leftovers found;
    auto notes = std::make_unique<RuleNotes>();
    for (const Family family : kFamilies) {
      look_for_rules(
          family, [this](const Tool&) { return std::make_unique<RulesOfOthers>(owned_); },
          [](const Tool&) { return false; }, *notes, found);
    }
    found.objects = notes->objects();
    found.notes = std::move(notes);
    return found;
  }

  Removal remove(Leftovers leftovers) override {
    Removal removal;
    auto* notes = dynamic_cast<RuleNotes*>(leftovers.notes.get());
    if (notes == nullptr) return removal;
    notes->remove_block(removal);
    leftovers.objects = notes->objects();
    removal.left = std::move(leftovers);
    return removal;
  }

 private:
  OwnedRules owned_;
};

}  // namespace

std::optional<Table> table_named(std::string_view name) {
  for (const Table table : kTables) {
    if (to_string(table) == name) return table;
  }
  return std::nullopt;
}

bool is_built_in(std::string_view chain) {
  return std::find(kBuiltInChains.begin(), kBuiltInChains.end(), chain) != kBuiltInChains.end();
}

std::string target_of(std::string_view rule) {
  const std::size_t at = rule.rfind(" -j ") != std::string_view::npos ? rule.rfind(" -j ") + 4
                         : rule.starts_with("-j ")                    ? 3
                                                                      : rule.size();
  const std::string_view rest = rule.substr(at);
  return std::string(rest.substr(0, rest.find(' ')));
}

// ---- one flavour

void LeftoverRules::begin() {
  chains_.clear();
  rules_.clear();
  forget();
}

Result<> LeftoverRules::read(const Tool& tool) {
  SLUICE_CHECK_OK(read_live(tool, *this));
  complete();
  std::stable_sort(chains_.begin(), chains_.end(),
                   [](const OwnedChain& a, const OwnedChain& b) { return a.rank < b.rank; });
  return {};
}

std::vector<Block> LeftoverRules::blocks(Flavour flavour) const {
  const std::size_t size = items_per_block(flavour);
  std::vector<Block> blocks;
  const auto add = [&](Table table, Item item) {
    if (blocks.empty() || blocks.back().table != table || blocks.back().items.size() >= size)
      blocks.push_back({table, {}});
    blocks.back().items.push_back(item);
  };
  for (const Table table : kTables) {
    for (std::uint32_t i = 0; i < rules_.size(); ++i) {
      if (rules_[i].table == table) add(table, {kRule, i});
    }
    for (std::uint32_t i = 0; i < chains_.size(); ++i) {
      if (chains_[i].table == table) add(table, {kChain, i});
    }
  }
  return blocks;
}

void LeftoverRules::keep_chain(Table table, std::string_view name) {
  std::erase_if(chains_, [&](const OwnedChain& chain) { return chain.table == table && chain.name == name; });
  std::erase_if(rules_, [&](const OwnedRule& rule) {
    return rule.table == table && (rule.chain == name || rule.target == name);
  });
}

bool LeftoverRules::refused_is_in(const LeftoverRules& now) const {
  return std::any_of(refused_.begin(), refused_.end(), [&](const Item& item) {
    if (item.kind == kRule)
      return std::find(now.rules_.begin(), now.rules_.end(), rules_[item.index]) != now.rules_.end();
    return std::any_of(now.chains_.begin(), now.chains_.end(), [&](const OwnedChain& chain) {
      return chain.table == chains_[item.index].table && chain.name == chains_[item.index].name;
    });
  });
}

std::size_t LeftoverRules::refused_chains(const Block& block) const {
  return static_cast<std::size_t>(std::count_if(block.items.begin(), block.items.end(), [this](const Item& item) {
    return item.kind == kChain && refused_.contains(item);
  }));
}

ItemText LeftoverRules::text(Item item) {
  if (refused_.contains(item)) return {};
  if (item.kind == kChain) return {{chains_[item.index].name}, {}, {chains_[item.index].name}};
  return {{}, {fmt::format("-D {} {}", rules_[item.index].chain, rules_[item.index].rule)}, {}};
}

std::string LeftoverRules::label(Item item) const {
  if (item.kind == kChain)
    return fmt::format("removal of {} chain {}", to_string(chains_[item.index].table), chains_[item.index].name);
  return fmt::format("removal of the rule of {} {} that leads to {}", to_string(rules_[item.index].table),
                     rules_[item.index].chain, rules_[item.index].target);
}

// ---- all flavours

namespace {

std::size_t chains_in(const Block& block) {
  return static_cast<std::size_t>(std::count_if(block.items.begin(), block.items.end(),
                                                [](const Item& item) { return item.kind == LeftoverRules::kChain; }));
}

}  // namespace

std::vector<Objects> RuleNotes::objects() const {
  std::vector<Objects> objects;
  for (const PerTool& each : tools) {
    const auto waiting = each.blocks.begin() + static_cast<std::ptrdiff_t>(each.next);
    if (waiting == each.blocks.end()) continue;
    const std::size_t chains =
        std::accumulate(waiting, each.blocks.end(), std::size_t{0},
                        [](std::size_t sum, const Block& block) { return sum + chains_in(block); });
    const Family family = each.tool.family;
    // Only rules, such as a jump that was left when its chain was removed.
    if (chains == 0) {
      add(objects, {fmt::format("rules of iptables ({})", to_string(family)), "", 1});
    } else {
      add(objects, chain_objects(family, chains));
    }
  }
  return objects;
}

void RuleNotes::remove_block(Removal& removal) {
  const auto next =
      std::find_if(tools.begin(), tools.end(), [](const PerTool& each) { return each.next < each.blocks.size(); });
  if (next == tools.end()) return;
  const Block& block = next->blocks[next->next++];
  ApplyStats stats;
  const auto done = run_script(next->tool, {block}, *next->rules, stats);
  std::size_t chains = chains_in(block);
  if (!done) {
    chains = stats.kernel_transactions == 0 ? 0 : chains - next->rules->refused_chains(block);
    // Another program may have been quicker.
    const auto read = next->again->read(next->tool);
    if (stats.kernel_transactions == 0 || !read || next->rules->refused_is_in(*next->again))
      removal.problems.push_back(fmt::format("iptables ({}): {}", to_string(next->tool.family), done.error().what));
  }
  if (chains > 0) add(removal.removed, chain_objects(next->tool.family, chains));
}

void look_for_rules(Family family, const MakeLeftoverRules& make, const std::function<bool(const Tool&)>& skip,
                    RuleNotes& notes, Leftovers& leftovers) {
  const std::vector<Tool> tools = installed_tools(family);
  if (tools.empty() && rules_without_programs(family)) {
    const std::string_view name = family == Family::kIPv4 ? "iptables" : "ip6tables";
    leftovers.problems.push_back(
        fmt::format("there are rules of {0}, and no {0} program in PATH; install the package iptables", name));
  }
  for (const Tool& tool : tools) {
    if (skip(tool)) continue;
    auto rules = make(tool);
    if (const auto read = rules->read(tool); !read) {
      leftovers.problems.push_back(fmt::format("iptables ({}): {}", to_string(family), read.error().what));
      continue;
    }
    if (rules->empty()) continue;
    std::vector<Block> blocks = rules->blocks(tool.flavour);
    notes.tools.push_back({tool, std::move(rules), make(tool), std::move(blocks), 0});
  }
}

std::unique_ptr<RulesInIptables> open_rules(OwnedRules owned) {
  return std::make_unique<OwnedRulesInIptables>(std::move(owned));
}

}  // namespace sluice::dataplane::iptables
