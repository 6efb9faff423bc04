// SPDX-License-Identifier: Apache-2.0
// Removes every trace. A node may have chains of several ages: kube-proxy's iptables mode of today and of 1.20
// (KUBE-XLB-), what its ipvs mode shares with it, in either flavour of iptables, and ours. What they own is known by
// name; what belongs to kubelet, to a network plugin or to the administrator is not touched. Of the rules in the
// kernel's own chains only jumps into ours are removed: a chain that a rule jumps to cannot be deleted.
//
// Two of the names are shared with kubelet. KUBE-FIREWALL is removed only if no kubelet is active and nothing else is
// in it; otherwise only our rule in it is removed, which kubelet would have written itself. KUBE-MARK-DROP, which
// kube-proxy 1.20 creates empty for kubelet to fill, is removed if no kubelet is active and it is still empty.
#include "dataplane/iptables/mode_leftovers.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "dataplane/iptables/canonical.h"
#include "dataplane/iptables/chain_names.h"
#include "dataplane/iptables/encode.h"

namespace sluice::dataplane::iptables {
namespace {

// The order in which chains are deleted: those that refer to others first.
constexpr std::size_t kRankDispatch = 0;
constexpr std::size_t kRankPort = 1;
constexpr std::size_t kRankMark = kRankPort + kChainKinds;

constexpr std::string_view kMarkDropChain = "KUBE-MARK-DROP";

struct OwnedName {
  Table table;
  std::string_view name;
};
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

}  // namespace

ModeLeftovers::ModeLeftovers(Family family) : family_(family) {
  EncodeSettings settings;
  settings.family = family;
  martian_ = canonical_rule(family, Encoder(settings).martian_rule({}), Comments::kIgnore);
}

void ModeLeftovers::forget() {
  kubelet_ = firewall_seen_ = firewall_shared_ = mark_drop_empty_ = guard_goes_ = false;
  martian_rules_.clear();
}

void ModeLeftovers::chain(std::string_view table_name, std::string_view name) {
  kubelet_ = kubelet_ || name == kKubeletHintChain || name == kKubeletCanaryChain;
  const auto table = table_named(table_name);
  if (!table) return;
  if (*table == Table::kFilter && name == kFirewallChain) firewall_seen_ = true;
  if (*table == Table::kNat && name == kMarkDropChain) mark_drop_empty_ = true;
  ChainKind kind{};
  if (*table == Table::kNat && parse_port_chain(name, kind)) {
    chains_.push_back({*table, std::string(name), kRankPort + static_cast<std::size_t>(kind)});
  } else if (std::any_of(kOwnedNames.begin(), kOwnedNames.end(),
                         [&](const OwnedName& owned) { return owned.table == *table && owned.name == name; })) {
    chains_.push_back({*table, std::string(name), name == kMarkMasqChain ? kRankMark : kRankDispatch});
  }
}

void ModeLeftovers::rule(std::string_view table_name, std::string_view chain, std::string_view rule) {
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
  if (!is_built_in(chain)) return;
  std::string target = target_of(rule);
  if (target.starts_with("KUBE-")) rules_.push_back({*table, std::string(chain), std::string(rule), std::move(target)});
}

// Drops what is not ours after all.
void ModeLeftovers::complete() {
  const bool firewall_goes = firewall_seen_ && !firewall_shared_ && !kubelet_;
  if (firewall_goes) chains_.push_back({Table::kFilter, std::string(kFirewallChain), kRankDispatch});
  if (mark_drop_empty_ && !kubelet_) chains_.push_back({Table::kNat, std::string(kMarkDropChain), kRankMark});
  std::set<std::pair<Table, std::string_view>> ours;
  for (const OwnedChain& chain : chains_) ours.insert({chain.table, chain.name});
  std::erase_if(rules_, [&](const OwnedRule& jump) { return !ours.contains({jump.table, jump.target}); });
  guard_goes_ = !martian_rules_.empty() && !kubelet_;
  if (firewall_goes || kubelet_) return;
  for (std::string& rule : martian_rules_)
    rules_.push_back({Table::kFilter, std::string(kFirewallChain), std::move(rule), "DROP"});
}

void ModeLeftovers::keep_guard() {
  keep_chain(Table::kFilter, kFirewallChain);
  guard_goes_ = false;
}

}  // namespace sluice::dataplane::iptables
