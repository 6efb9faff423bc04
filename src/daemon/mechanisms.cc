// SPDX-License-Identifier: Apache-2.0
// From the configuration's fields to the settings of each mode. What mode ipvs owns of kube-proxy's rules in iptables
// is put together here, since neither of the two refers to the other.
#include "daemon/mechanisms.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/log.h"
#include "dataplane/iptables/iptables_mechanism.h"
#include "dataplane/iptables/leftover_rules.h"
#include "dataplane/ipvs/ipvs_mechanism.h"
#include "dataplane/ipvs/kube_proxy_names.h"
#include "dataplane/nftables/nftables_mechanism.h"
#include "ipvs/engines/open_engine.h"
#include "sys/state_folder.h"

namespace sluice::daemon {
namespace {

using config::ProxyConfig;
using config::SluiceConfig;

std::optional<dataplane::iptables::Flavour> named(config::IptablesFlavour flavour) {
  switch (flavour) {
    case config::IptablesFlavour::kNft:
      return dataplane::iptables::Flavour::kNft;
    case config::IptablesFlavour::kLegacy:
      return dataplane::iptables::Flavour::kLegacy;
    case config::IptablesFlavour::kAuto:
      break;
  }
  return std::nullopt;
}

// Data planes look at their settings at every full apply; a problem is logged once.
std::function<void(const sys::SysctlReport&)> log_settings() {
  return [said = std::set<std::string>()](const sys::SysctlReport& report) mutable {
    for (const sys::SysctlSetting& setting : report.changed)
      SLUICE_LOG_INFO("Set sysctl", {"entry", setting.name}, {"value", setting.value});
    for (const Error& problem : report.problems) {
      if (!said.insert(problem.what).second) continue;
      SLUICE_LOG_ERROR("Could not write a kernel setting that the proxy mode needs, keeping the kernel's value",
                       {"err", problem.what});
    }
  };
}

std::unique_ptr<dataplane::Mechanism> make_iptables(const ProxyConfig& config, const SluiceConfig& sluice) {
  dataplane::iptables::MechanismSettings settings;
  settings.flavour = named(sluice.iptables.flavour);
  settings.masquerade_bit = static_cast<unsigned>(masquerade_bit(config));
  settings.settings_changed = log_settings();
  return std::make_unique<dataplane::iptables::IptablesMechanism>(std::move(settings), open_journal(sluice));
}

std::uint32_t whole_seconds(config::Duration duration) {
  return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(duration).count());
}

std::unique_ptr<dataplane::Mechanism> make_ipvs(const ProxyConfig& config, const SluiceConfig& sluice, bool cleanup) {
  namespace ipvs_plane = dataplane::ipvs;
  ipvs_plane::MechanismSettings settings;
  settings.plane.scheduler = config.ipvs.scheduler;
  for (const std::string& text : config::items(config.ipvs.exclude_cidrs)) {
    if (const auto cidr = Cidr::parse(text)) settings.plane.exclude_cidrs.push_back(*cidr);  // validated before
  }
  settings.plane.drain_timeout = std::chrono::duration_cast<std::chrono::milliseconds>(sluice.ipvs.drain_timeout);
  settings.plane.timeouts = {whole_seconds(config.ipvs.tcp_timeout), whole_seconds(config.ipvs.tcp_fin_timeout),
                             whole_seconds(config.ipvs.udp_timeout)};
  settings.plane.state_folder = sys::state_folder(sluice.data_dir);
  settings.plane.warn = [](const ipvs_plane::Warning& warning) {
    SLUICE_LOG_WARNING("Mode ipvs", {"service", warning.service ? warning.service->to_string() : ""},
                       {"why", warning.what});
  };
  settings.masquerade_all = masquerade_all(config);
  settings.masquerade_bit = static_cast<unsigned>(masquerade_bit(config));
  settings.strict_arp = config.ipvs.strict_arp;
  settings.remove_engines_out_of_sight = cleanup;
  settings.settings_changed = log_settings();
  ipvs_plane::Surroundings surroundings;
  surroundings.open_engine = [engine = sluice.ipvs.engine] { return ipvs::engines::open_engine(engine); };
  surroundings.engines_in_use = [] {
    std::vector<ipvs_plane::Surroundings::OpenEngine> engines;
    for (const ipvs::EngineChoice engine : ipvs::engines::engines_in_use())
      engines.push_back([engine] { return ipvs::engines::open_engine(engine); });
    return engines;
  };
  surroundings.kube_proxys_rules = dataplane::iptables::open_rules(ipvs_plane::kube_proxys_rules());
  return std::make_unique<ipvs_plane::IpvsMechanism>(std::move(settings), std::move(surroundings),
                                                     open_journal(sluice));
}

std::unique_ptr<dataplane::Mechanism> make_nftables(const ProxyConfig& config) {
  dataplane::nftables::MechanismSettings settings;
  settings.masquerade_bit = static_cast<unsigned>(masquerade_bit(config));
  return std::make_unique<dataplane::nftables::NftablesMechanism>(std::move(settings));
}

Mechanisms make_all(const ProxyConfig& config, const SluiceConfig& sluice, bool cleanup) {
  Mechanisms mechanisms;
  mechanisms.push_back(make_ipvs(config, sluice, cleanup));
  mechanisms.push_back(make_iptables(config, sluice));
  mechanisms.push_back(make_nftables(config));
  return mechanisms;
}

}  // namespace

Mechanisms make_mechanisms(const ProxyConfig& config, const SluiceConfig& sluice) {
  return make_all(config, sluice, false);
}

Mechanisms make_mechanisms_for_cleanup(const SluiceConfig& sluice) {
  return make_all({}, sluice, true);
}

std::vector<dataplane::Mechanism*> pointers_to(const Mechanisms& mechanisms) {
  std::vector<dataplane::Mechanism*> pointers;
  for (const auto& mechanism : mechanisms) pointers.push_back(mechanism.get());
  return pointers;
}

Result<dataplane::Mechanism*> mechanism_named(const Mechanisms& mechanisms, std::string_view name) {
  const auto found = std::find_if(mechanisms.begin(), mechanisms.end(),
                                  [name](const auto& mechanism) { return mechanism->name() == name; });
  if (found == mechanisms.end()) return fail(Errc::kUnsupported, fmt::format("there is no mode \"{}\"", name));
  return found->get();
}

sys::SysctlJournal open_journal(const SluiceConfig& sluice) {
  return sys::SysctlJournal(sys::state_folder(sluice.data_dir));
}

}  // namespace sluice::daemon
