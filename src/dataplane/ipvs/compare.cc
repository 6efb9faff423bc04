// SPDX-License-Identifier: Apache-2.0
// What `sluice status` prints and repairs act on. The texts name the object as ipvsadm and ip(8) show it, so that a
// reader can check. What is being drained is neither wanted nor wrong: a real server of weight 0 that no plan
// wants is left out, also if an earlier process was draining it.
//
// kube-proxy rewrites everything every syncPeriod, so operators who empty the table by hand expect to see it back
// within half a minute. Here that check costs one list of the virtual servers and one of the sets, some ten
// milliseconds at ten thousand Services. The kernel lists real servers only for one virtual server at a time, 30
// microseconds each, so each check covers a part of these.
#include <fmt/format.h>

#include <algorithm>

#include "dataplane/ipvs/ipvs_data_plane.h"

namespace sluice::dataplane::ipvs {
namespace {

std::string name_of(const VirtualServerKey& key) {
  return "virtual server " + sluice::ipvs::to_string(key);
}

std::string name_of(const RealServerKey& key, const VirtualServerKey& of) {
  return fmt::format("real server {} of {}", sluice::ipvs::to_string(key), sluice::ipvs::to_string(of));
}

std::string name_of(const IpAddress& address) {
  return fmt::format("address {} on {}", address.to_string(), kServiceDevice);
}

void compare_settings(const VirtualServer& wanted, const VirtualServer& live, Difference& difference) {
  if (wanted == live) return;
  const auto describe = [](const VirtualServer& server) {
    return fmt::format("{} with scheduler {}, flags {:#x}, persistence {} s", name_of(server.key), server.scheduler,
                       server.flags, server.persistence_timeout_s);
  };
  difference.missing.push_back(describe(wanted));
  difference.unexpected.push_back(describe(live));
}

void compare_real_servers(const WantedVirtualServer& wanted, const LiveVirtualServer& live, Difference& difference) {
  const VirtualServerKey& of = wanted.server.key;
  std::map<RealServerKey, const RealServer*> rest;
  for (const RealServer& server : live.real_servers) rest.emplace(server.key, &server);
  for (const auto& each : *wanted.real_servers) {
    const RealServer server = to_real_server(each);
    const auto there = rest.find(server.key);
    if (there == rest.end()) {
      difference.missing.push_back(name_of(server.key, of));
      continue;
    }
    if (*there->second != server) {
      difference.missing.push_back(fmt::format("{} with weight {}", name_of(server.key, of), server.weight));
      difference.unexpected.push_back(fmt::format("{} with weight {}", name_of(server.key, of), there->second->weight));
    }
    rest.erase(there);
  }
  for (const auto& [key, server] : rest) {
    if (server->weight != 0) difference.unexpected.push_back(name_of(key, of));
  }
}

}  // namespace

Result<bool> IpvsDataPlane::addresses_intact(const std::vector<sys::InterfaceAddress>& listed) {
  if (device_ == nullptr) return true;
  SLUICE_TRY(const bool there, device_->exists());
  if (!there && !device_refused_) return false;
  const auto& wanted = served_->service_addresses();
  std::size_t bound = 0;
  for (const IpAddress& address : bound_in(listed)) {
    if (!wanted.contains(address)) {
      if (still_bound_.contains(address)) continue;
      return false;
    }
    if (!unbound_.contains(address)) ++bound;
  }
  return bound + unbound_.size() >= wanted.size();
}

Result<bool> IpvsDataPlane::table_intact() {
  SLUICE_TRY(const bool rules, table_->intact());
  if (!rules) return false;
  SLUICE_TRY(const Difference elements, table_->compare(served_->elements()));
  return elements.empty();
}

Result<bool> IpvsDataPlane::virtual_servers_intact() {
  const auto wanted = served_->wanted_after(looked_at_, kLookedAtMost, settings_);
  looked_at_.reset();
  if (wanted.size() == kLookedAtMost) looked_at_ = wanted.back().server.key;
  std::map<VirtualServerKey, const WantedVirtualServer*> part;
  for (const WantedVirtualServer& each : wanted) part.emplace(each.server.key, &each);

  std::size_t found = 0;
  Difference difference;
  const auto look = [&](const VirtualServerKey& key) {
    if (key.family != settings_.family || key.firewall_mark != 0) return false;
    if (incomplete_.contains(key)) return false;
    if (served_->owner(key) != nullptr) {
      ++found;
    } else if (!excluded(key.address) && !unremoved_.contains(key)) {
      difference.unexpected.push_back(name_of(key));
    }
    return part.contains(key);
  };
  SLUICE_CHECK_OK(engine_->list(look, [&](const sluice::ipvs::VirtualServerState& state) {
    const WantedVirtualServer& server = *part.at(state.server.key);
    compare_settings(server.server, state.server, difference);
    compare_real_servers(server, as_live(state), difference);
  }));
  return difference.empty() && found + incomplete_.size() >= served_->virtual_servers();
}

Result<Integrity> IpvsDataPlane::intact() {
  if (!served_) return Integrity::kDamaged;
  SLUICE_TRY(const auto listed, network_->list_addresses());
  SLUICE_TRY(const bool addresses, addresses_intact(listed));
  if (!addresses) return Integrity::kDamaged;
  SLUICE_TRY(const bool table, table_intact());
  if (!table) return Integrity::kDamaged;
  SLUICE_TRY(const bool virtual_servers, virtual_servers_intact());
  if (!virtual_servers) return Integrity::kDamaged;
  SLUICE_TRY(const NodeAddresses node, read_node(node_port_addresses_, listed));
  return same(node, served_->node()) ? Integrity::kKept : Integrity::kNodeChanged;
}

Result<Difference> IpvsDataPlane::compare(const Changes& wanted) {
  SLUICE_TRY(const auto listed, network_->list_addresses());
  SLUICE_TRY(NodeAddresses node, read_node(wanted.node_port_addresses, listed));
  SLUICE_TRY(LiveTable live, list_live(*engine_, settings_.family));
  Served served(std::move(node));
  const Served::Delta delta = served.update(wanted.ports, settings_);
  SLUICE_TRY(Difference difference, table_->compare(delta.added));

  for (const Served::VirtualServerChange& change : delta.virtual_servers) {
    const auto there = live.find(change.key);
    if (incomplete_.contains(change.key)) {  // reported as refused
      if (there != live.end()) live.erase(there);
      continue;
    }
    if (there == live.end()) {
      difference.missing.push_back(name_of(change.key));
      continue;
    }
    compare_settings(change.after->server, there->second.server, difference);
    compare_real_servers(*change.after, there->second, difference);
    live.erase(there);
  }
  for (const auto& [key, server] : live) {
    if (!excluded(key.address) && !unremoved_.contains(key)) difference.unexpected.push_back(name_of(key));
  }

  std::set<IpAddress> unbound = to_bind(delta.added);
  for (const IpAddress& address : bound_in(listed)) {
    unbound.erase(address);
    if (!delta.added.service_addresses.contains(address) && !still_bound_.contains(address))
      difference.unexpected.push_back(name_of(address));
  }
  for (const IpAddress& address : unbound_) unbound.erase(address);
  for (const IpAddress& address : unbound) difference.missing.push_back(name_of(address));
  return difference;
}

}  // namespace sluice::dataplane::ipvs
