// SPDX-License-Identifier: Apache-2.0
// Leaving no trace. A node may carry the chains of several ages: kube-proxy's iptables mode of today and of 1.20
// (KUBE-XLB-), its ipvs mode (chains that match on IP sets), in either flavour of iptables, and ours. What they own is
// known by name; what belongs to kubelet, to a network plugin or to the administrator is not touched. Of the rules in
// the kernel's own chains only jumps into ours go: a chain that something jumps to cannot be deleted. Should a foreign
// chain refer to one of ours, that one stays and is reported.
//
// Two of the names are shared with kubelet. KUBE-FIREWALL goes only where no kubelet is at work and nothing else is in
// it; beside other rules only ours in it goes, which kubelet would have written itself. KUBE-MARK-DROP goes, which
// kube-proxy 1.20 makes without a rule and leaves to kubelet to fill, where none is at work and it is still empty.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "dataplane/iptables/canonical.h"
#include "dataplane/iptables/iptables_data_plane.h"
#include "dataplane/iptables/restore_script.h"

namespace sluice::dataplane::iptables {
namespace {

constexpr std::array<std::string_view, 5> kBuiltInChains{"INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING"};

// In which order chains are deleted: who refers to others first.
constexpr std::size_t kRankDispatch = 0;
constexpr std::size_t kRankPort = 1;
constexpr std::size_t kRankMark = kRankPort + kChainKinds;

constexpr std::string_view kMarkDropChain = "KUBE-MARK-DROP";

struct OwnedName {
  Table table;
  std::string_view name;
};
// What both modes have, or the iptables mode alone.
constexpr std::array kOwnedNames{
    OwnedName{Table::kNat, kServicesChain},
    OwnedName{Table::kNat, kNodePortsChain},
    OwnedName{Table::kNat, kPostroutingChain},
    OwnedName{Table::kNat, kMarkMasqChain},
    OwnedName{Table::kNat, kCanaryChain},
    OwnedName{Table::kFilter, kServicesChain},
    OwnedName{Table::kFilter, kExternalServicesChain},
    OwnedName{Table::kFilter, kForwardChain},
    OwnedName{Table::kFilter, kNodePortsChain},
    OwnedName{Table::kFilter, kProxyFirewallChain},
    OwnedName{Table::kFilter, kCanaryChain},
    OwnedName{Table::kMangle, kCanaryChain},
};
// What the ipvs mode alone has (pkg/proxy/ipvs/proxier.go); its nat KUBE-FIREWALL is from before 1.25.
constexpr std::array kIpvsModeNames{
    OwnedName{Table::kNat, "KUBE-LOAD-BALANCER"},
    OwnedName{Table::kNat, "KUBE-NODE-PORT"},
    OwnedName{Table::kNat, kFirewallChain},
    OwnedName{Table::kFilter, "KUBE-NODE-PORT"},
    OwnedName{Table::kFilter, "KUBE-SOURCE-RANGES-FIREWALL"},
    OwnedName{Table::kFilter, "KUBE-IPVS-FILTER"},
    OwnedName{Table::kFilter, "KUBE-IPVS-OUT-FILTER"},
};

// The ipvs mode's jump into a chain that the iptables mode has, too, but enters by other rules.
constexpr std::string_view kIpvsModeJump = "\"kube-proxy firewall rules\"";

template <std::size_t size>
bool holds(const std::array<OwnedName, size>& names, Table table, std::string_view name) {
  return std::any_of(names.begin(), names.end(),
                     [&](const OwnedName& owned) { return owned.table == table && owned.name == name; });
}

// What of a flavour's rules goes: all that was ever kube-proxy's or ours, or, beside a proxy that serves in mode
// iptables by this flavour, what kube-proxy's mode ipvs has left.
enum class Scope : std::uint8_t { kEverything, kIpvsMode };

struct OwnedChain {
  Table table = Table::kNat;
  std::string name;
  std::size_t rank = kRankDispatch;
};

struct Jump {
  Table table = Table::kNat;
  std::string from;
  std::string rule;
  std::string to;
};

std::optional<Table> table_named(std::string_view name) {
  for (const Table table : kTables) {
    if (to_string(table) == name) return table;
  }
  return std::nullopt;
}

std::string target_of(std::string_view rule) {
  const std::size_t at = rule.rfind(" -j ") != std::string_view::npos ? rule.rfind(" -j ") + 4
                         : rule.starts_with("-j ")                    ? 3
                                                                      : rule.size();
  const std::string_view rest = rule.substr(at);
  return std::string(rest.substr(0, rest.find(' ')));
}

// Collects what is ours.
class Leftovers : public SaveVisitor, public ItemSource {
 public:
  static constexpr std::uint32_t kJump = 0;
  static constexpr std::uint32_t kChain = 1;

  Leftovers(Family family, std::string_view martian_rule, Scope scope)
      : family_(family), scope_(scope), martian_(canonical_rule(family, martian_rule, Comments::kIgnore)) {}

  void begin() override {
    kubelet_ = firewall_seen_ = firewall_shared_ = mark_drop_empty_ = false;
    martian_rules_.clear();
    chains_.clear();
    jumps_.clear();
  }

  void chain(std::string_view table_name, std::string_view name) override {
    kubelet_ = kubelet_ || name == kKubeletHintChain || name == kKubeletCanaryChain;
    const auto table = table_named(table_name);
    if (!table) return;
    if (holds(kIpvsModeNames, *table, name)) chains_.push_back({*table, std::string(name), kRankDispatch});
    if (scope_ == Scope::kIpvsMode) return;
    if (*table == Table::kFilter && name == kFirewallChain) firewall_seen_ = true;
    if (*table == Table::kNat && name == kMarkDropChain) mark_drop_empty_ = true;
    ChainKind kind{};
    if (*table == Table::kNat && parse_port_chain(name, kind)) {
      chains_.push_back({*table, std::string(name), kRankPort + static_cast<std::size_t>(kind)});
    } else if (holds(kOwnedNames, *table, name)) {
      chains_.push_back({*table, std::string(name), name == kMarkMasqChain ? kRankMark : kRankDispatch});
    }
  }

  void rule(std::string_view table_name, std::string_view chain, std::string_view rule) override {
    const auto table = table_named(table_name);
    if (!table) return;
    if (*table == Table::kFilter && chain == kFirewallChain) {
      if (canonical_rule(family_, rule, Comments::kIgnore) == martian_) {
        martian_rules_.emplace_back(rule);
      } else {
        firewall_shared_ = true;
      }
    }
    if (*table == Table::kNat && chain == kMarkDropChain) mark_drop_empty_ = false;
    if (std::find(kBuiltInChains.begin(), kBuiltInChains.end(), chain) == kBuiltInChains.end()) return;
    std::string to = target_of(rule);
    if (to.starts_with("KUBE-")) jumps_.push_back({*table, std::string(chain), std::string(rule), std::move(to)});
  }

  // All is read: drops what turned out not to be ours, and puts the rest in order.
  std::vector<Block> blocks(Flavour flavour) {
    if (firewall_seen_ && !firewall_shared_ && !kubelet_) {
      chains_.push_back({Table::kFilter, std::string(kFirewallChain), kRankDispatch});
    }
    if (mark_drop_empty_ && !kubelet_) chains_.push_back({Table::kNat, std::string(kMarkDropChain), kRankMark});
    std::stable_sort(chains_.begin(), chains_.end(),
                     [](const OwnedChain& a, const OwnedChain& b) { return a.rank < b.rank; });
    std::set<std::pair<Table, std::string_view>> ours;
    for (const OwnedChain& chain : chains_) ours.insert({chain.table, chain.name});
    std::erase_if(jumps_, [&](const Jump& jump) {
      return !ours.contains({jump.table, jump.to}) && jump.rule.find(kIpvsModeJump) == std::string::npos;
    });
    if (scope_ == Scope::kEverything && firewall_shared_ && !kubelet_) {
      for (std::string& rule : martian_rules_)
        jumps_.push_back({Table::kFilter, std::string(kFirewallChain), std::move(rule), "DROP"});
    }
    std::vector<Block> blocks;
    for (const Table table : kTables) {
      Block block{table, {}};
      for (std::uint32_t i = 0; i < jumps_.size(); ++i) {
        if (jumps_[i].table == table) block.items.push_back({kJump, i});
      }
      for (std::uint32_t i = 0; i < chains_.size(); ++i) {
        if (chains_[i].table != table) continue;
        if (flavour == Flavour::kNft && block.items.size() >= kNftChainsPerBlock) {
          blocks.push_back(std::exchange(block, Block{table, {}}));
        }
        block.items.push_back({kChain, i});
      }
      if (!block.items.empty()) blocks.push_back(std::move(block));
    }
    return blocks;
  }

  ItemText text(Item item) override {
    if (excluded_.contains(item)) return {};
    if (item.kind == kChain) return {{chains_[item.index].name}, {}, {chains_[item.index].name}};
    return {{}, {fmt::format("-D {} {}", jumps_[item.index].from, jumps_[item.index].rule)}, {}};
  }
  [[nodiscard]] std::uint32_t phase(Item item) const override { return item.kind; }
  [[nodiscard]] bool divisible(std::uint32_t) const override { return true; }
  [[nodiscard]] std::string label(Item item) const override {
    if (item.kind == kChain)
      return fmt::format("removal of {} chain {}", to_string(chains_[item.index].table), chains_[item.index].name);
    return fmt::format("removal of the jump from {} {} to {}", to_string(jumps_[item.index].table),
                       jumps_[item.index].from, jumps_[item.index].to);
  }
  bool exclude(Item item) override { return excluded_.insert(item).second; }

 private:
  Family family_;
  Scope scope_;
  std::string martian_;
  bool kubelet_ = false;
  bool firewall_seen_ = false;
  bool firewall_shared_ = false;
  bool mark_drop_empty_ = false;
  std::vector<std::string> martian_rules_;  // as printed
  std::vector<OwnedChain> chains_;
  std::vector<Jump> jumps_;
  std::set<Item> excluded_;
};

// How many chains went.
Result<std::size_t> cleanup_flavour(const Tool& tool, Scope scope) {
  // Only IPv4 has the rule; in IPv6 KUBE-FIREWALL is ours only when empty.
  EncodeSettings settings;
  settings.family = tool.family;
  Leftovers leftovers(tool.family, Encoder(settings).martian_rule({}), scope);
  SLUICE_CHECK_OK(read_live(tool, leftovers));
  std::vector<Block> blocks = leftovers.blocks(tool.flavour);
  std::size_t chains = 0;
  if (blocks.empty()) return chains;
  for (const Block& block : blocks) {
    chains += static_cast<std::size_t>(std::count_if(block.items.begin(), block.items.end(),
                                                     [](const Item& item) { return item.kind == Leftovers::kChain; }));
  }
  ApplyStats stats;
  SLUICE_CHECK_OK(run_script(tool, std::move(blocks), leftovers, stats));
  return chains;
}

}  // namespace

Result<std::size_t> cleanup_iptables(Family family, std::optional<Serving> serving) {
  std::vector<Tool> tools = installed_tools(family);
  if (tools.empty() && rules_without_programs(family)) {
    const std::string_view name = family == Family::kIPv4 ? "iptables" : "ip6tables";
    return fail(Errc::kUnsupported,
                fmt::format("clean up {0}: no {0} program in PATH; install the package iptables", name));
  }
  std::size_t chains = 0;
  std::string problems;
  Errc code = Errc::kInternal;
  for (const Tool& tool : tools) {
    const bool serves = serving && serving->flavour == tool.flavour;
    if (serves && !serving->after_ipvs_mode) continue;
    const auto done = cleanup_flavour(tool, serves ? Scope::kIpvsMode : Scope::kEverything);
    if (done) {
      chains += *done;
      continue;
    }
    code = done.error().code;
    if (!problems.empty()) problems += "; ";
    problems += done.error().what;
  }
  if (!problems.empty()) return fail(code, "clean up iptables: " + problems);
  return chains;
}

}  // namespace sluice::dataplane::iptables
