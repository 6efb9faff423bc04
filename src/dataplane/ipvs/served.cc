// SPDX-License-Identifier: Apache-2.0
// Two ports of one Service have one address on kube-ipvs0, and a pod serves many Services: elements are counted
// (nft/element_counts.h). An update adds what is wanted now before it removes what was wanted before, so what both want
// is never without a count. Virtual servers have claims instead: which of two ports has one follows from their keys.
#include "dataplane/ipvs/served.h"

#include <utility>

#include "plan/importance.h"

namespace sluice::dataplane::ipvs {
namespace {

// Counts each set of `elements` by change(counts, set), and returns what that returned.
template <typename Change>
HelperElements count(const HelperElements& elements, HelperCounts& counts, Change change) {
  HelperElements changed;
  const auto each = [&](const auto& set, auto& counted, auto& into) {
    const auto differing = change(counted, set);
    into.insert(differing.begin(), differing.end());
  };
  for_each_set(each, elements, counts, changed);
  return changed;
}

// Returns the elements that appeared.
HelperElements add(const HelperElements& elements, HelperCounts& counts) {
  return count(elements, counts, [](auto& counted, const auto& set) { return counted.add(set); });
}

// Returns the elements that went.
HelperElements remove(const HelperElements& elements, HelperCounts& counts) {
  return count(elements, counts, [](auto& counted, const auto& set) { return counted.remove(set); });
}

// None or one.
std::vector<NodePort> node_port_of(const plan::ServicePortPlan& port) {
  if (port.served_node_port() == 0) return {};
  return {{port.key.protocol, port.served_node_port()}};
}

void merge(HelperElements&& from, HelperElements& into) {
  for_each_set([](auto& source, auto& target) { target.merge(source); }, from, into);
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
  (void)node_ports_.add(node_port_of(*port));
  if (!wanted.refusals.empty()) refusals_[port->key] = wanted.refusals;
  if (!wanted.bad_annotations.empty()) bad_annotations_[port->key] = wanted.bad_annotations;
  HelperElements fresh = add(wanted.elements, counts_);
  if (plan::comes_first(*port))
    delta.first_addresses.insert(fresh.service_addresses.begin(), fresh.service_addresses.end());
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
  (void)node_ports_.remove(node_port_of(*port->second));
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
  for (const plan::ServicePortKey& key : replaced) merge(remove(before.at(key).elements, counts_), delta.removed);

  for (auto& [key, server] : touched) {
    VirtualServerChange change{key, std::move(server), winner(key, settings, after), false};
    if (change.before && change.after && same(*change.before, *change.after)) continue;
    if (!change.before && !change.after) continue;
    if (const plan::ServicePortKey* port = owner(key)) change.first = plan::comes_first(*ports_.at(*port));
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

HelperElements Served::elements() const {
  HelperElements elements;
  const auto each = [](const auto& counted, auto& into) {
    const auto all = counted.all();
    into.insert(all.begin(), all.end());
  };
  for_each_set(each, counts_, elements);
  return elements;
}

std::vector<Refusal> Served::refusals() const {
  std::set<Refusal> all;
  for (const auto& [key, refusals] : refusals_) all.insert(refusals.begin(), refusals.end());
  return {all.begin(), all.end()};
}

std::set<IpAddress> Served::addresses() const {
  const auto addresses = counts_.service_addresses.all();
  return {addresses.begin(), addresses.end()};
}

std::set<NodePort> Served::node_ports() const {
  const auto ports = node_ports_.all();
  return {ports.begin(), ports.end()};
}

}  // namespace sluice::dataplane::ipvs
