// SPDX-License-Identifier: Apache-2.0
// Which virtual servers are ours, or the real kube-proxy's, when the Services are no longer known.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "dataplane/ipvs/helper_table.h"
#include "dataplane/node/network.h"
#include "ipvs/engine.h"

namespace sluice::dataplane::ipvs {

// What distinguishes them from those of others.
struct Evidence {
  std::set<IpAddress> service_addresses;  // on kube-ipvs0, or listed by our nftables table
  std::set<IpAddress> node_addresses;
  std::set<NodePort> node_ports;  // recorded: in our file, our table, kube-proxy's IP sets
  // One of the records exists, so a port that is in none is not ours.
  bool node_ports_known = false;
  // Of these families, an address that is not in service_addresses is no Service's.
  std::set<Family> addresses_known{};
  std::vector<std::string> problems{};  // what could not be read
};
// Of the calling thread's network namespace. `state_folder` is that of the data plane's Options; it may be empty.
Evidence find_evidence(node::Network& network, const std::string& state_folder);

// Adds what the rules of an engine name: they live as long as the virtual servers of Services. Returns how many elements
// there are by family; nothing of an engine that has no rules.
std::map<Family, std::size_t> add_from_rules(sluice::ipvs::Engine& engine, Evidence& evidence);

// Pure. Virtual servers of firewall marks are never ours.
bool is_owned(const sluice::ipvs::VirtualServerKey& key, const Evidence& evidence);

// Those on the node's own addresses that look like node ports, if no record was left: every real server of
// theirs belongs to a Service.
std::vector<sluice::ipvs::VirtualServerKey> suspects(const std::vector<sluice::ipvs::VirtualServerState>& live,
                                                     const Evidence& evidence);
// Those on addresses that the node does not have, as a Service's are whose address nothing records any more: every real
// server of theirs is masqueraded to.
std::vector<sluice::ipvs::VirtualServerKey> strays(const std::vector<sluice::ipvs::VirtualServerState>& live,
                                                   const Evidence& evidence);

}  // namespace sluice::dataplane::ipvs
