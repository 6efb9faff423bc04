// SPDX-License-Identifier: Apache-2.0
// A DNS client that keeps its socket open sends from the same port for hours. The kernel decided at its first packet
// which pod it uses, recorded that in the connection tracking table, and no longer consults the rules while packets
// keep coming; UDP has no end of a connection. When the pod is gone, the entry must be deleted: sync does that, right
// after the rules were changed, because the old rules would recreate an entry that is deleted earlier.
//
// Deleting too much is harmful as well: a flow that is forwarded to another node, or masqueraded, gets a new source
// port when its entry is gone, and the other side sees an unknown peer. See the header for the rule.
#include "sync/conntrack_cleaner.h"

#include <algorithm>

namespace sluice::sync {
namespace {

using plan::AddressPort;
using plan::ServicePortPlan;
using plan::ServicePortPlanPtr;

std::vector<AddressPort> destinations(const ServicePortPlan& port) {
  std::vector<AddressPort> all;
  for (const plan::Frontend& frontend : port.frontends) {
    if (frontend.kind != plan::FrontendKind::kNodePort) all.push_back({frontend.address, frontend.port});
  }
  return all;
}

std::uint16_t node_port(const ServicePortPlanPtr& port) {
  return port ? port->served_node_port() : std::uint16_t{0};
}

// A real server that is chosen now is never stale, even if a slice marks it both ready and not serving.
void add_endpoints(const ServicePortPlan& port, std::set<AddressPort>& to) {
  to.insert(port.serving.begin(), port.serving.end());
  for (const plan::RealServer& server : port.real_servers) to.insert({server.address, server.port});
}

std::set<AddressPort> endpoints(const ServicePortPlanPtr& port) {
  std::set<AddressPort> all;
  if (port) add_endpoints(*port, all);
  return all;
}

bool translated(const sys::Flow& flow) {
  return flow.reply_source != flow.destination || flow.reply_source_port != flow.destination_port;
}

template <typename Key>
void forget(std::map<Key, std::vector<ServicePortPlanPtr>>& owners, const Key& destination,
            const plan::ServicePortKey& port) {
  const auto found = owners.find(destination);
  if (found == owners.end()) return;
  std::erase_if(found->second, [&port](const ServicePortPlanPtr& owner) { return owner->key == port; });
  if (found->second.empty()) owners.erase(found);
}

bool is_udp(const plan::Change& change) {
  return change.key().protocol == Protocol::kUdp;
}

}  // namespace

bool StaleFlows::Rule::stale(const sys::Flow& flow) const {
  const AddressPort answering{flow.reply_source, flow.reply_source_port};
  if (endpoints.contains(answering)) return false;
  if (!translated(flow)) {
    // Other zones (Open vSwitch has its own) may see the packet before our rules translate it: no translation is right
    // there.
    return !endpoints.empty() && flow.zone == 0;
  }
  return !endpoints.empty() || unknown || gone.contains(answering);
}

bool StaleFlows::operator()(const sys::Flow& flow) const {
  if (flow.protocol != Protocol::kUdp) return false;
  const AddressPort destination{flow.destination, flow.destination_port};
  if (const auto rule = addresses_.find(destination); rule != addresses_.end()) return rule->second.stale(flow);
  // A number that is one Service's node port may be another one's ordinary port.
  const auto rule = node_ports_.find(flow.destination_port);
  if (rule == node_ports_.end() || known_->contains(destination)) return false;
  // Flows that only pass through this node to another host's port of that number are not ours.
  const bool ours = scope_ && (scope_->contains(flow.destination) || flow.destination.is_loopback());
  if (ours) return rule->second.stale(flow);
  const AddressPort answering{flow.reply_source, flow.reply_source_port};
  return translated(flow) && rule->second.gone.contains(answering) && !rule->second.endpoints.contains(answering);
}

void ConntrackCleaner::note(const plan::Change& change) {
  if (!is_udp(change)) return;
  if (change.before) {
    for (const AddressPort& each : destinations(*change.before)) forget(addresses_, each, change.key());
    if (node_port(change.before) != 0) forget(node_ports_, node_port(change.before), change.key());
  }
  if (change.after) {
    for (const AddressPort& each : destinations(*change.after)) addresses_[each].push_back(change.after);
    if (node_port(change.after) != 0) node_ports_[node_port(change.after)].push_back(change.after);
  }
}

StaleFlows::Rule& ConntrackCleaner::address_rule(const AddressPort& destination, StaleFlows& stale) const {
  const auto [rule, inserted] = stale.addresses_.try_emplace(destination);
  if (const auto owners = addresses_.find(destination); inserted && owners != addresses_.end()) {
    for (const ServicePortPlanPtr& owner : owners->second) add_endpoints(*owner, rule->second.endpoints);
  }
  return rule->second;
}

StaleFlows::Rule& ConntrackCleaner::node_port_rule(std::uint16_t port, StaleFlows& stale) const {
  const auto [rule, inserted] = stale.node_ports_.try_emplace(port);
  if (const auto owners = node_ports_.find(port); inserted && owners != node_ports_.end()) {
    for (const ServicePortPlanPtr& owner : owners->second) add_endpoints(*owner, rule->second.endpoints);
  }
  return rule->second;
}

void ConntrackCleaner::add_rules(const plan::Change& change, StaleFlows& stale) const {
  const std::set<AddressPort> now = endpoints(change.after);
  const std::set<AddressPort> earlier = endpoints(change.before);
  std::set<AddressPort> gone;
  std::set_difference(earlier.begin(), earlier.end(), now.begin(), now.end(), std::inserter(gone, gone.end()));

  const std::vector<AddressPort> before = change.before ? destinations(*change.before) : std::vector<AddressPort>{};
  const std::vector<AddressPort> after = change.after ? destinations(*change.after) : std::vector<AddressPort>{};
  const std::uint16_t node_port_before = node_port(change.before);
  const std::uint16_t node_port_after = node_port(change.after);
  if (!gone.empty()) {
    for (const AddressPort& each : before) address_rule(each, stale).gone.insert(gone.begin(), gone.end());
    if (node_port_before != 0) node_port_rule(node_port_before, stale).gone.insert(gone.begin(), gone.end());
  }
  // If the port is no longer served but another one is, flows belong to that one's endpoints.
  for (const AddressPort& each : before) {
    if (std::find(after.begin(), after.end(), each) == after.end() && addresses_.contains(each))
      (void)address_rule(each, stale);
  }
  if (node_port_before != node_port_after && node_ports_.contains(node_port_before))
    (void)node_port_rule(node_port_before, stale);
  if (now.empty()) return;
  // If there was nothing to translate to until now, early packets left flows without translation.
  for (const AddressPort& each : after) {
    if (earlier.empty() || std::find(before.begin(), before.end(), each) == before.end())
      (void)address_rule(each, stale);
  }
  if (node_port_after != 0 && (earlier.empty() || node_port_after != node_port_before))
    (void)node_port_rule(node_port_after, stale);
}

std::optional<StaleFlows> ConntrackCleaner::finish(StaleFlows stale,
                                                   const std::function<NodePortScope()>& scope) const {
  if (stale.addresses_.empty() && stale.node_ports_.empty()) return std::nullopt;
  if (!stale.node_ports_.empty()) stale.scope_ = scope();
  stale.known_ = &addresses_;
  return stale;
}

std::optional<StaleFlows> ConntrackCleaner::stale_after(const std::vector<plan::Change>& applied,
                                                        const std::function<NodePortScope()>& scope) const {
  StaleFlows stale;
  for (const plan::Change& change : applied) {
    if (is_udp(change)) add_rules(change, stale);
  }
  return finish(std::move(stale), scope);
}

std::optional<StaleFlows> ConntrackCleaner::stale_after_full_sync(const std::vector<plan::Change>& applied,
                                                                  const std::function<NodePortScope()>& scope) const {
  StaleFlows stale;
  for (const auto& [destination, owners] : addresses_) address_rule(destination, stale).unknown = true;
  for (const auto& [port, owners] : node_ports_) node_port_rule(port, stale).unknown = true;
  for (const plan::Change& change : applied) {
    if (is_udp(change)) add_rules(change, stale);
  }
  return finish(std::move(stale), scope);
}

}  // namespace sluice::sync
