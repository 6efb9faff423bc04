// SPDX-License-Identifier: Apache-2.0
// Most of what a Service port wants is its own, but some things are shared: two ports of one Service have one address
// on kube-ipvs0, a pod serves many Services, a node port's number may be used by TCP and UDP. Such a thing must come
// with the first who wants it and go with the last, without looking at all the others. So everything is counted, and an
// update adds what is wanted now before it takes away what was wanted before: what both want never passes zero.
#include "dataplane/ipvs/served.h"

#include <utility>

namespace sluice::dataplane::ipvs {

template <typename Self, typename Body>
void ElementCounts::for_each_set(Self& self, Body body) {
  body(self.cluster_ips_, &HelperElements::cluster_ips);
  body(self.masqueraded_, &HelperElements::masqueraded);
  body(self.unmasqueraded_, &HelperElements::unmasqueraded);
  body(self.masqueraded_node_ports_, &HelperElements::masqueraded_node_ports);
  body(self.unmasqueraded_node_ports_, &HelperElements::unmasqueraded_node_ports);
  body(self.firewalled_, &HelperElements::firewalled);
  body(self.source_ranges_, &HelperElements::source_ranges);
  body(self.service_addresses_, &HelperElements::service_addresses);
  body(self.health_check_ports_, &HelperElements::health_check_ports);
  body(self.local_real_servers_, &HelperElements::local_real_servers);
}

HelperElements ElementCounts::add(const HelperElements& elements) {
  HelperElements fresh;
  for_each_set(*this, [&](auto& counts, auto member) {
    for (const auto& element : elements.*member) {
      if (++counts[element] == 1) (fresh.*member).insert(element);
    }
  });
  return fresh;
}

HelperElements ElementCounts::remove(const HelperElements& elements) {
  HelperElements gone;
  for_each_set(*this, [&](auto& counts, auto member) {
    for (const auto& element : elements.*member) {
      const auto counted = counts.find(element);
      if (counted == counts.end() || --counted->second > 0) continue;
      counts.erase(counted);
      (gone.*member).insert(element);
    }
  });
  return gone;
}

HelperElements ElementCounts::all() const {
  HelperElements all;
  for_each_set(*this, [&](const auto& counts, auto member) {
    for (const auto& [element, count] : counts) (all.*member).insert((all.*member).end(), element);
  });
  return all;
}

namespace {

void merge(HelperElements&& from, HelperElements& into) {
  const auto each = [&](auto member) { (into.*member).merge(from.*member); };
  each(&HelperElements::cluster_ips);
  each(&HelperElements::masqueraded);
  each(&HelperElements::unmasqueraded);
  each(&HelperElements::masqueraded_node_ports);
  each(&HelperElements::unmasqueraded_node_ports);
  each(&HelperElements::firewalled);
  each(&HelperElements::source_ranges);
  each(&HelperElements::service_addresses);
  each(&HelperElements::health_check_ports);
  each(&HelperElements::local_real_servers);
}

}  // namespace

const WantedPort& Served::compute(const plan::ServicePortKey& key, const WantedSettings& settings,
                                  Computed& computed) const {
  const auto known = computed.find(key);
  if (known != computed.end()) return known->second;
  return computed.emplace(key, wanted_of(*ports_.at(key), settings, node_)).first->second;
}

const plan::ServicePortKey* Served::owner(const VirtualServerKey& key) const {
  const auto claims = claims_.find(key);
  return claims == claims_.end() ? nullptr : &*claims->second.begin();
}

std::map<IpAddress, std::set<plan::ServicePortKey>> Served::ports_on(const std::set<IpAddress>& addresses) const {
  std::map<IpAddress, std::set<plan::ServicePortKey>> ports;
  for (const auto& [key, claims] : claims_) {
    if (addresses.contains(key.address)) ports[key.address].insert(claims.begin(), claims.end());
  }
  return ports;
}

std::optional<WantedVirtualServer> Served::winner(const VirtualServerKey& key, const WantedSettings& settings,
                                                  Computed& computed) const {
  const plan::ServicePortKey* port = owner(key);
  if (port == nullptr) return std::nullopt;
  for (const WantedVirtualServer& server : compute(*port, settings, computed).virtual_servers) {
    if (server.server.key == key) return server;
  }
  return std::nullopt;
}

void Served::add_port(const plan::ServicePortPlanPtr& port, const WantedPort& wanted, Delta& delta) {
  ports_[port->key] = port;
  for (const WantedVirtualServer& server : wanted.virtual_servers) claims_[server.server.key].insert(port->key);
  if (port->served_node_port() != 0) ++node_ports_[{port->key.protocol, port->served_node_port()}];
  if (!wanted.refusals.empty()) refusals_[port->key] = wanted.refusals;
  if (!wanted.bad_annotations.empty()) bad_annotations_[port->key] = wanted.bad_annotations;
  HelperElements fresh = counts_.add(wanted.elements);
  if (comes_first(*port)) delta.first_addresses.insert(fresh.service_addresses.begin(), fresh.service_addresses.end());
  merge(std::move(fresh), delta.added);
}

void Served::remove_port(const plan::ServicePortKey& key, const WantedPort& wanted) {
  for (const WantedVirtualServer& server : wanted.virtual_servers) {
    const auto claims = claims_.find(server.server.key);
    if (claims == claims_.end()) continue;
    claims->second.erase(key);
    if (claims->second.empty()) claims_.erase(claims);
  }
  const auto port = ports_.find(key);
  const auto node_port = node_ports_.find({key.protocol, port->second->served_node_port()});
  if (node_port != node_ports_.end() && --node_port->second == 0) node_ports_.erase(node_port);
  refusals_.erase(key);
  bad_annotations_.erase(key);
  ports_.erase(port);
}

Served::Delta Served::update(const std::vector<plan::Change>& changes, const WantedSettings& settings) {
  Delta delta;
  Computed before;
  Computed after;
  std::map<VirtualServerKey, std::optional<WantedVirtualServer>> touched;  // and what they were
  const auto touch = [&](const WantedPort& wanted) {
    for (const WantedVirtualServer& server : wanted.virtual_servers) touched.try_emplace(server.server.key);
  };
  for (const plan::Change& change : changes) {
    if (ports_.contains(change.key())) touch(compute(change.key(), settings, before));
    if (change.after) touch(after.emplace(change.key(), wanted_of(*change.after, settings, node_)).first->second);
  }
  for (auto& [key, server] : touched) server = winner(key, settings, before);

  // Claims know a port by its key, so there the old goes first; of the elements it goes last.
  std::vector<plan::ServicePortKey> replaced;
  for (const plan::Change& change : changes) {
    if (!ports_.contains(change.key())) continue;
    remove_port(change.key(), before.at(change.key()));
    replaced.push_back(change.key());
  }
  for (const plan::Change& change : changes) {
    if (change.after) add_port(change.after, after.at(change.key()), delta);
  }
  for (const plan::ServicePortKey& key : replaced) merge(counts_.remove(before.at(key).elements), delta.removed);

  for (auto& [key, server] : touched) {
    VirtualServerChange change{key, std::move(server), winner(key, settings, after), false};
    if (change.before && change.after && same(*change.before, *change.after)) continue;
    if (!change.before && !change.after) continue;
    if (const plan::ServicePortKey* port = owner(key)) change.first = comes_first(*ports_.at(*port));
    delta.virtual_servers.push_back(std::move(change));
  }
  return delta;
}

std::vector<WantedVirtualServer> Served::wanted_after(const std::optional<VirtualServerKey>& after, std::size_t most,
                                                      const WantedSettings& settings) const {
  std::vector<WantedVirtualServer> wanted;
  Computed computed;
  auto claims = after ? claims_.upper_bound(*after) : claims_.begin();
  for (; claims != claims_.end() && wanted.size() < most; ++claims) {
    if (auto server = winner(claims->first, settings, computed)) wanted.push_back(*std::move(server));
  }
  return wanted;
}

std::vector<WantedVirtualServer> Served::wanted_by(const plan::ServicePortKey& port,
                                                   const WantedSettings& settings) const {
  if (!ports_.contains(port)) return {};
  Computed computed;
  std::vector<WantedVirtualServer> wanted = compute(port, settings, computed).virtual_servers;
  std::erase_if(wanted, [&](const WantedVirtualServer& server) { return *owner(server.server.key) != port; });
  return wanted;
}

std::vector<plan::Change> Served::all_ports() const {
  std::vector<plan::Change> changes;
  changes.reserve(ports_.size());
  for (const auto& [key, port] : ports_) changes.push_back({nullptr, port});
  return changes;
}

bool Served::has_service(const plan::ObjectKey& service) const {
  // Keys are in order of their Services first.
  const auto port = ports_.lower_bound({service, "", Protocol::kTcp, Family::kIPv4});
  return port != ports_.end() && port->first.service == service;
}

std::vector<Refusal> Served::refusals() const {
  std::set<Refusal> all;
  for (const auto& [key, refusals] : refusals_) all.insert(refusals.begin(), refusals.end());
  return {all.begin(), all.end()};
}

std::set<NodePort> Served::node_ports() const {
  std::set<NodePort> ports;
  for (const auto& [port, count] : node_ports_) ports.insert(ports.end(), port);
  return ports;
}

}  // namespace sluice::dataplane::ipvs
