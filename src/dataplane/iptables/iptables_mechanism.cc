// SPDX-License-Identifier: Apache-2.0
// Mode iptables leaves chains, in one flavour or the other, and one setting of the node, route_localnet. The two belong
// together: with the setting, neighbours on the node's network can reach listeners on 127.0.0.1, and the martian rule
// keeps them out. So
//
// - the setting is changed when a full apply has written the rule, not before;
// - it is restored before the rule is removed; if that fails, the rule stays and is reported.
//
// If we are killed in between, the rule is left without the setting, never the other way round.
//
// A kube-proxy before us may have changed the setting, and kept no record. If its martian rule is removed and no record
// of ours shows that the setting existed without a rule, it counts as kube-proxy's and is set to the default, 0.
#include "dataplane/iptables/iptables_mechanism.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "dataplane/iptables/guard.h"
#include "dataplane/iptables/iptables_data_plane.h"
#include "dataplane/iptables/leftover_rules.h"
#include "dataplane/iptables/mode_leftovers.h"
#include "dataplane/recorded_settings.h"

namespace sluice::dataplane::iptables {
namespace {

Objects kube_proxys_value() {
  return {fmt::format("kube-proxy's value of {}", kRouteLocalnet), "", 1};
}

}  // namespace

struct IptablesMechanism::Notes : LeftoverNotes {
  RuleNotes rules;
  std::vector<Objects> settings;      // recorded, to be restored
  bool kube_proxys_localnet = false;  // route_localnet must become 0
  [[nodiscard]] bool settings_due() const { return !settings.empty() || kube_proxys_localnet; }

  [[nodiscard]] std::vector<Objects> objects() const {
    std::vector<Objects> objects = settings;
    if (kube_proxys_localnet) objects.push_back(kube_proxys_value());
    for (Objects& chains : rules.objects()) add(objects, std::move(chains));
    return objects;
  }
};

IptablesMechanism::IptablesMechanism(MechanismSettings settings, sys::SysctlJournal journal, sys::SysctlAccess sysctls)
    : settings_(std::move(settings)), journal_(std::move(journal)), sysctls_(std::move(sysctls)) {}

Result<> IptablesMechanism::probe(Family family) {
  return iptables::probe(family, settings_.flavour);
}

Result<std::unique_ptr<DataPlane>> IptablesMechanism::open(const PlaneSettings& settings) {
  Options options;
  options.family = settings.family;
  options.detector = settings.detector;
  options.masquerade_bit = settings_.masquerade_bit;
  options.localhost_node_ports = settings.localhost_node_ports;
  options.flavour = settings_.flavour;
  options.guarded = [this](bool guard_was_there) { guarded(guard_was_there); };
  SLUICE_TRY(auto data_plane, IptablesDataPlane::open(options));
  opened_[settings.family] = {data_plane->tool().flavour, settings.localhost_node_ports};
  flavour_ = to_string(data_plane->tool().flavour);
  return data_plane;
}

Result<> IptablesMechanism::prepare_node(const PlaneSettings& settings) {
  if (settings.family != Family::kIPv4 || !settings.localhost_node_ports) return {};
  SLUICE_TRY(const Tool tool, find_tool(settings.family, settings_.flavour));
  SLUICE_TRY(const bool guard_was_there, ensure_guard(tool));
  guarded(guard_was_there);
  return {};
}

// The martian rule is in place.
void IptablesMechanism::guarded(bool guard_was_there) const {
  const auto now = sysctls_.read(kRouteLocalnet);
  const bool unrecorded = !journal_.entries().contains(kRouteLocalnet);
  if (now && *now == "1" && unrecorded) {
    // With the rule it is kube-proxy's or kubelet's; without, the administrator's.
    if (guard_was_there) return;
    if (const auto noted = journal_.note_found(kSysctlOwner, {kRouteLocalnet, *now}); !noted)
      settings_.settings_changed({{}, {noted.error()}});
    return;
  }
  const sys::SysctlReport report = journal_.apply(kSysctlOwner, {{kRouteLocalnet, "1"}});
  if (!report.changed.empty() || !report.problems.empty()) settings_.settings_changed(report);
}

Leftovers IptablesMechanism::leftovers(std::span<const Family> serving) {
  const auto serves = [&](Family family) {
    return std::find(serving.begin(), serving.end(), family) != serving.end() && opened_.contains(family);
  };
  Leftovers found;
  auto notes = std::make_unique<Notes>();
  for (const Family family : kFamilies) {
    look_for_rules(
        family, [family](const Tool&) { return std::make_unique<ModeLeftovers>(family); },
        [&](const Tool& tool) { return serves(family) && opened_.at(family).flavour == tool.flavour; }, notes->rules,
        found);
  }
  if (!serves(Family::kIPv4) || !opened_.at(Family::kIPv4).localhost_node_ports) {
    notes->settings = recorded_settings(journal_, kSysctlOwner);
    const auto now = sysctls_.read(kRouteLocalnet);
    const bool guard_goes = std::any_of(notes->rules.tools.begin(), notes->rules.tools.end(), [](const auto& each) {
      const auto* rules = dynamic_cast<const ModeLeftovers*>(each.rules.get());
      return rules != nullptr && rules->guard_goes();
    });
    notes->kube_proxys_localnet = guard_goes && now && *now == "1" && !journal_.entries().contains(kRouteLocalnet);
  }
  found.objects = notes->objects();
  found.notes = std::move(notes);
  return found;
}

void IptablesMechanism::restore_settings(Notes& notes, Removal& removal) const {
  bool open = false;
  if (!notes.settings.empty()) {
    restore_recorded_settings(journal_, kSysctlOwner, removal);
    const std::vector<sys::SysctlSetting> left = journal_.changed_by(kSysctlOwner);
    open = std::any_of(left.begin(), left.end(),
                       [](const sys::SysctlSetting& setting) { return setting.name == kRouteLocalnet; });
    notes.settings.clear();
  }
  if (std::exchange(notes.kube_proxys_localnet, false)) {
    if (const auto written = sysctls_.write(kRouteLocalnet, "0"); written) {
      add(removal.removed, kube_proxys_value());
    } else {
      removal.problems.push_back(written.error().what);
      open = true;
    }
  }
  if (!open) return;
  removal.problems.push_back(
      fmt::format("KUBE-FIREWALL stays as long as {} is 1: it keeps neighbours from 127.0.0.0/8", kRouteLocalnet));
  for (RuleNotes::PerTool& each : notes.rules.tools) {
    auto* rules = dynamic_cast<ModeLeftovers*>(each.rules.get());
    if (rules == nullptr) continue;
    rules->keep_guard();
    each.blocks = rules->blocks(each.tool.flavour);
  }
}

Removal IptablesMechanism::remove(Leftovers leftovers) {
  Removal removal;
  auto* notes = dynamic_cast<Notes*>(leftovers.notes.get());
  if (notes == nullptr) return removal;
  if (notes->settings_due()) {
    restore_settings(*notes, removal);
  } else {
    notes->rules.remove_block(removal);
  }
  leftovers.objects = notes->objects();
  removal.left = std::move(leftovers);
  return removal;
}

}  // namespace sluice::dataplane::iptables
