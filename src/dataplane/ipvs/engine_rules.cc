// SPDX-License-Identifier: Apache-2.0
// The sets of the helper table say what is done to whom, each by an address, a protocol and a port; an engine has one
// rule for each of these, with all that is done. An element that comes or goes changes one bit of what its rule's key is
// a member of. Elements come before those that replace them go (a Service whose policy changes is for a moment in two
// sets), so what a rule says is computed from all its memberships: for that moment, from both.
#include "dataplane/ipvs/engine_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace sluice::dataplane::ipvs {
namespace {

using sluice::ipvs::AllowedSource;
using sluice::ipvs::kAnyOwnAddress;
using sluice::ipvs::kFilteredFlag;
using sluice::ipvs::kMasqueradeAll;
using sluice::ipvs::kMasqueradeOthers;
using sluice::ipvs::LocalClients;
using sluice::ipvs::RuleElements;
using sluice::ipvs::RuleSettings;
using sluice::ipvs::ServiceRule;
using sluice::ipvs::VirtualServerKey;

// The sets that a rule's key is in.
using Sets = std::uint8_t;
constexpr Sets kInClusterIps = 1;
constexpr Sets kInMasqueraded = 2;
constexpr Sets kInUnmasqueraded = 4;
constexpr Sets kInFirewalled = 8;
constexpr Sets kInMasqueradedPorts = 16;
constexpr Sets kInUnmasqueradedPorts = 32;
using Memberships = std::map<VirtualServerKey, Sets>;

VirtualServerKey key_of(const ServedAddress& served) {
  return VirtualServerKey::of(served.protocol, served.address, served.port);
}

VirtualServerKey key_of(const NodePort& node_port, Family family) {
  const IpAddress unspecified = family == Family::kIPv4 ? IpAddress::from_v4(0) : IpAddress();
  return VirtualServerKey::of(node_port.protocol, unspecified, node_port.port);
}

Memberships memberships_of(const HelperElements& elements, Family family) {
  Memberships members;
  const auto add_served = [&](const std::set<ServedAddress>& all, Sets bit) {
    for (const ServedAddress& each : all) members[key_of(each)] |= bit;
  };
  const auto add_ports = [&](const std::set<NodePort>& all, Sets bit) {
    for (const NodePort& each : all) members[key_of(each, family)] |= bit;
  };
  add_served(elements.cluster_ips, kInClusterIps);
  add_served(elements.masqueraded, kInMasqueraded);
  add_served(elements.unmasqueraded, kInUnmasqueraded);
  add_served(elements.firewalled, kInFirewalled);
  add_ports(elements.masqueraded_node_ports, kInMasqueradedPorts);
  add_ports(elements.unmasqueraded_node_ports, kInUnmasqueradedPorts);
  return members;
}

ServiceRule rule_of(const VirtualServerKey& key, Sets sets, const plan::MasqueradePolicy& policy) {
  ServiceRule rule{key, 0};
  if ((sets & kInClusterIps) != 0) {
    // Without a detector no source can be distinguished from a pod of this node.
    if (policy.detector.implemented()) rule.flags |= kMasqueradeOthers;
    if (policy.masquerade_all) rule.flags |= kMasqueradeAll;
  }
  if ((sets & (kInMasqueraded | kInMasqueradedPorts)) != 0) rule.flags |= kMasqueradeAll;
  if ((sets & kInFirewalled) != 0) rule.flags |= kFilteredFlag;
  if ((sets & (kInMasqueradedPorts | kInUnmasqueradedPorts)) != 0) rule.flags |= kAnyOwnAddress;
  return rule;
}

std::vector<AllowedSource> allowed_of(const std::set<SourceRange>& ranges) {
  std::vector<AllowedSource> allowed;
  allowed.reserve(ranges.size());
  for (const SourceRange& range : ranges) allowed.push_back({key_of(range.to), range.from});
  return allowed;
}

std::string describe(const ServiceRule& rule) {
  std::string what;
  const auto add = [&](std::uint32_t flag, const char* word) {
    if ((rule.flags & flag) == 0) return;
    if (!what.empty()) what += ", ";
    what += word;
  };
  add(kMasqueradeAll, "masquerade all");
  add(kMasqueradeOthers, "masquerade others than local clients");
  add(kFilteredFlag, "filter by source");
  const bool any = (rule.flags & kAnyOwnAddress) != 0;
  return fmt::format("rule of {}{}: {}", any ? "node port " : "", sluice::ipvs::to_string(rule.key),
                     what.empty() ? "keep the source" : what);
}
std::string describe(const AllowedSource& allowed) {
  return fmt::format("source range {} of {}", allowed.source.to_string(), sluice::ipvs::to_string(allowed.key));
}
std::string describe(const IpAddress& address) {
  return fmt::format("route of {} to the engine", address.to_string());
}

template <typename T>
void compare_all(std::vector<T> wanted, std::vector<T> live, Difference& difference) {
  std::sort(wanted.begin(), wanted.end());
  std::sort(live.begin(), live.end());
  std::vector<T> only;
  std::set_difference(wanted.begin(), wanted.end(), live.begin(), live.end(), std::back_inserter(only));
  for (const T& each : only) difference.missing.push_back(describe(each));
  only.clear();
  std::set_difference(live.begin(), live.end(), wanted.begin(), wanted.end(), std::back_inserter(only));
  for (const T& each : only) difference.unexpected.push_back(describe(each));
}

class EngineRules : public HelperTable {
 public:
  EngineRules(sluice::ipvs::ServiceRules& rules, std::string name, const HelperSettings& settings,
              std::unique_ptr<MasqueradeTable> masquerade)
      : rules_(rules), name_(std::move(name)), settings_(settings), masquerade_(std::move(masquerade)) {}

  Result<std::size_t> replace(const HelperElements& wanted) override {
    // Before the engine marks anything.
    SLUICE_TRY(const std::size_t in_table, masquerade_->replace());
    SLUICE_TRY(const std::size_t in_engine, rules_.replace(rule_settings(settings_), rule_elements(wanted, settings_)));
    members_ = memberships_of(wanted, settings_.family);
    addresses_.clear();
    for (const auto& [key, sets] : *members_) {
      if ((sets & kInClusterIps) != 0) ++addresses_[key.address];
    }
    return in_table + in_engine;
  }

  Result<std::size_t> change(const HelperElements& add, const HelperElements& remove) override {
    if (!members_) return fail(Errc::kInvalid, "rules of Services: changed before they were written");
    RuleElements to_add;
    RuleElements to_remove;
    to_add.allowed = allowed_of(add.source_ranges);
    for (const SourceRange& range : remove.source_ranges) {
      if (!add.source_ranges.contains(range)) to_remove.allowed.push_back({key_of(range.to), range.from});
    }
    const Memberships changed = changed_by(add, remove);
    std::map<IpAddress, std::size_t> counts;  // of the addresses that are concerned
    for (const auto& [key, sets] : changed) {
      const Sets before = sets_of(key);
      const auto in_cluster_ips = [](Sets of) { return (of & kInClusterIps) != 0 ? std::size_t{1} : std::size_t{0}; };
      if (in_cluster_ips(before) != in_cluster_ips(sets)) {
        const auto known = addresses_.find(key.address);
        auto& count = counts.try_emplace(key.address, known == addresses_.end() ? 0 : known->second).first->second;
        count = count + in_cluster_ips(sets) - in_cluster_ips(before);
      }
      if (sets != 0) {
        const ServiceRule rule = rule_of(key, sets, settings_.masquerade);
        if (before == 0 || rule != rule_of(key, before, settings_.masquerade)) to_add.rules.push_back(rule);
      } else if (before != 0) {
        to_remove.rules.push_back({key, 0});
      }
    }
    for (const auto& [address, count] : counts) {
      if (count == 0) to_remove.addresses.push_back(address);
      if (count > 0 && !addresses_.contains(address)) to_add.addresses.push_back(address);
    }
    if (to_add.empty() && to_remove.empty()) return note(changed, counts, 0);
    SLUICE_TRY(const std::size_t written, rules_.change(settings_.family, to_add, to_remove));
    return note(changed, counts, written);
  }

  Result<bool> intact() override {
    SLUICE_TRY(const bool table, masquerade_->intact());
    if (!table) return false;
    return rules_.intact(rule_settings(settings_));
  }

  Result<Difference> compare(const HelperElements& wanted) override {
    SLUICE_TRY(Difference difference, masquerade_->compare());
    SLUICE_TRY(RuleElements live, rules_.read(settings_.family));
    RuleElements all = rule_elements(wanted, settings_);
    compare_all(std::move(all.rules), std::move(live.rules), difference);
    compare_all(std::move(all.allowed), std::move(live.allowed), difference);
    compare_all(std::move(all.addresses), std::move(live.addresses), difference);
    return difference;
  }

  [[nodiscard]] std::size_t rules() const override { return masquerade_->rules(); }
  [[nodiscard]] std::string_view elements_in() const override { return name_; }

 private:
  [[nodiscard]] Sets sets_of(const VirtualServerKey& key) const {
    const auto found = members_->find(key);
    return found == members_->end() ? Sets{0} : found->second;
  }

  // Of the keys that are concerned: what they are in afterwards. An element in both stays.
  [[nodiscard]] Memberships changed_by(const HelperElements& add, const HelperElements& remove) const {
    const Memberships added = memberships_of(add, settings_.family);
    Memberships after;
    for (const auto& [key, sets] : memberships_of(remove, settings_.family))
      after[key] = static_cast<Sets>(sets_of(key) & ~sets);
    for (const auto& [key, sets] : added) {
      const auto known = after.try_emplace(key, sets_of(key)).first;
      known->second = static_cast<Sets>(known->second | sets);
    }
    return after;
  }

  std::size_t note(const Memberships& changed, const std::map<IpAddress, std::size_t>& counts, std::size_t written) {
    for (const auto& [key, sets] : changed) {
      if (sets == 0) {
        members_->erase(key);
      } else {
        (*members_)[key] = sets;
      }
    }
    for (const auto& [address, count] : counts) {
      if (count == 0) {
        addresses_.erase(address);
      } else {
        addresses_[address] = count;
      }
    }
    return written;
  }

  sluice::ipvs::ServiceRules& rules_;
  std::string name_;
  HelperSettings settings_;
  std::unique_ptr<MasqueradeTable> masquerade_;
  std::optional<Memberships> members_;          // nothing before they were written
  std::map<IpAddress, std::size_t> addresses_;  // of cluster IPs, with the number of their ports
};

}  // namespace

RuleSettings rule_settings(const HelperSettings& settings) {
  using Kind = plan::LocalDetector::Kind;
  const plan::LocalDetector& detector = settings.masquerade.detector;
  RuleSettings rules;
  rules.family = settings.family;
  if (detector.kind == Kind::kCidr) rules.local_clients = {LocalClients::Kind::kCidr, detector.cidr, ""};
  if (detector.kind == Kind::kInterface)
    rules.local_clients = {LocalClients::Kind::kInterface, Cidr(), detector.interface};
  if (detector.kind == Kind::kInterfacePrefix)
    rules.local_clients = {LocalClients::Kind::kInterfacePrefix, Cidr(), detector.interface};
  rules.masquerade_mark = std::uint32_t{1} << settings.masquerade_bit;
  // As the kernel's engine is set (ipvs_sysctls.cc).
  rules.expire_without_real_server = true;
  rules.expire_quiescent_templates = true;
  return rules;
}

RuleElements rule_elements(const HelperElements& elements, const HelperSettings& settings) {
  RuleElements all;
  for (const auto& [key, sets] : memberships_of(elements, settings.family)) {
    all.rules.push_back(rule_of(key, sets, settings.masquerade));
    // Not those of other machines, such as a load balancer's: a route would take all their ports.
    const bool routed = (sets & kInClusterIps) != 0;
    if (routed && (all.addresses.empty() || all.addresses.back() != key.address)) all.addresses.push_back(key.address);
  }
  std::sort(all.addresses.begin(), all.addresses.end());
  all.addresses.erase(std::unique(all.addresses.begin(), all.addresses.end()), all.addresses.end());
  all.allowed = allowed_of(elements.source_ranges);
  return all;
}

std::unique_ptr<HelperTable> make_engine_rules(sluice::ipvs::ServiceRules& rules, std::string name,
                                               const HelperSettings& settings,
                                               std::unique_ptr<MasqueradeTable> masquerade) {
  return std::make_unique<EngineRules>(rules, std::move(name), settings, std::move(masquerade));
}

}  // namespace sluice::dataplane::ipvs
