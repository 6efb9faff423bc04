// SPDX-License-Identifier: Apache-2.0
// kube-proxy's own cleanup empties the whole table of IPVS, including virtual servers that an administrator made by
// hand or that another program balances. Ours can be recognised: they are on an address that kube-ipvs0 has, or that
// our nftables table lists, or they belong to a node port, on an address of the node with a port that we, or
// kube-proxy's IP sets, have recorded. The table is used too, because operators have learnt to delete the device by
// hand, and because a file is lost with its folder.
#include "dataplane/ipvs/cleanup.h"

#include <algorithm>
#include <array>
#include <utility>

#include "dataplane/ipvs/helper_rules.h"
#include "dataplane/ipvs/helper_sets.h"
#include "dataplane/ipvs/kube_proxy_names.h"
#include "dataplane/ipvs/record.h"
#include "dataplane/ipvs/wanted.h"
#include "dataplane/nft/keys.h"
#include "ipvs/service_rules.h"
#include "sys/links.h"
#include "sys/netfilter_objects.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::ipvs {
namespace {

using sluice::ipvs::VirtualServerState;

bool is_absence(const Error& error) {
  return error.code == Errc::kNotFound || error.code == Errc::kUnsupported;
}

void add_from_files(const std::string& state_folder, Evidence& evidence) {
  if (state_folder.empty()) return;
  for (const Family family : kFamilies) {
    const NodePortRecord ports(state_folder, family);
    evidence.node_ports.insert(ports.entries().begin(), ports.entries().end());
    evidence.node_ports_known = evidence.node_ports_known || ports.exists();
    const AddressRecord addresses(state_folder, family);
    if (addresses.exists()) evidence.addresses_known.insert(family);
    evidence.service_addresses.insert(addresses.entries().begin(), addresses.entries().end());
  }
}

void add_from_table(Evidence& evidence) {
  for (const Family family : kFamilies) {
    for (const char* set : {kMasqueradedNodePorts, kUnmasqueradedNodePorts}) {
      const auto listed = sys::read_nft_elements(family, kHelperTableName, set);
      if (!listed) {
        if (!is_absence(listed.error())) evidence.problems.push_back(listed.error().what);
        continue;
      }
      if (set == kUnmasqueradedNodePorts) evidence.node_ports_known = true;
      for (const sys::NftElement& element : *listed) {
        if (const auto port = nft::decode_node_port(element.key)) evidence.node_ports.insert(*port);
      }
    }
    const auto addresses = sys::read_nft_elements(family, kHelperTableName, kServiceAddresses);
    if (!addresses) {
      if (!is_absence(addresses.error())) evidence.problems.push_back(addresses.error().what);
      continue;
    }
    evidence.addresses_known.insert(family);
    for (const sys::NftElement& element : *addresses) {
      if (const auto address = IpAddress::from_bytes(element.key)) evidence.service_addresses.insert(*address);
    }
  }
}

void add_from_ip_sets(Evidence& evidence) {
  for (const NodePortSet& set : kube_proxys_node_port_sets()) {
    const auto listed = sys::list_ipset_ports(set.name);
    if (listed) {
      evidence.node_ports_known = true;
      for (const std::uint16_t port : *listed) evidence.node_ports.insert({set.protocol, port});
    } else if (!is_absence(listed.error())) {
      evidence.problems.push_back(listed.error().what);
    }
  }
}

}  // namespace

Evidence find_evidence(node::Network& network, const std::string& state_folder) {
  Evidence evidence;
  const auto addresses = network.list_addresses();
  if (addresses) {
    for (const sys::InterfaceAddress& entry : *addresses) {
      (entry.interface == kServiceDevice ? evidence.service_addresses : evidence.node_addresses).insert(entry.address);
    }
  } else {
    evidence.problems.push_back(addresses.error().what);
  }
  if (const auto exists = sys::link_exists(kServiceDevice); !exists) {
    evidence.problems.push_back(exists.error().what);
  } else if (*exists) {
    evidence.addresses_known.insert(kFamilies.begin(), kFamilies.end());
  }
  add_from_files(state_folder, evidence);
  add_from_table(evidence);
  add_from_ip_sets(evidence);
  return evidence;
}

std::map<Family, std::size_t> add_from_rules(sluice::ipvs::Engine& engine, Evidence& evidence) {
  std::map<Family, std::size_t> counts;
  sluice::ipvs::ServiceRules* rules = engine.service_rules();
  if (rules == nullptr) return counts;
  for (const Family family : kFamilies) {
    const auto there = rules->read(family);
    if (!there) evidence.problems.push_back(there.error().what);
    if (!there || there->empty()) continue;
    counts[family] = there->rules.size() + there->allowed.size() + there->addresses.size();
    evidence.addresses_known.insert(family);
    evidence.node_ports_known = true;
    for (const sluice::ipvs::ServiceRule& rule : there->rules) {
      if ((rule.flags & sluice::ipvs::kAnyOwnAddress) == 0) {
        evidence.service_addresses.insert(rule.key.address);
      } else if (const auto protocol = nft::protocol_of(static_cast<std::uint8_t>(rule.key.protocol))) {
        evidence.node_ports.insert({*protocol, rule.key.port});
      }
    }
  }
  return counts;
}

bool is_owned(const VirtualServerKey& key, const Evidence& evidence) {
  if (key.firewall_mark != 0) return false;
  if (evidence.service_addresses.contains(key.address)) return true;
  if (!evidence.node_addresses.contains(key.address)) return false;
  return std::any_of(evidence.node_ports.begin(), evidence.node_ports.end(), [&](const NodePort& each) {
    return each.port == key.port && ip_protocol_number(each.protocol) == key.protocol;
  });
}

std::vector<VirtualServerKey> suspects(const std::vector<VirtualServerState>& live, const Evidence& evidence) {
  if (evidence.node_ports_known) return {};
  using Target = std::pair<std::uint16_t, sluice::ipvs::RealServerKey>;  // by the protocol
  std::set<Target> of_services;
  for (const VirtualServerState& state : live) {
    if (!is_owned(state.server.key, evidence)) continue;
    for (const auto& each : state.real_servers) of_services.insert({state.server.key.protocol, each.server.key});
  }
  std::vector<VirtualServerKey> found;
  for (const VirtualServerState& state : live) {
    const VirtualServerKey& key = state.server.key;
    if (key.firewall_mark != 0 || is_owned(key, evidence) || !evidence.node_addresses.contains(key.address)) continue;
    const bool alike = std::all_of(state.real_servers.begin(), state.real_servers.end(), [&](const auto& each) {
      return of_services.contains({key.protocol, each.server.key});
    });
    if (alike && !state.real_servers.empty()) found.push_back(key);
  }
  return found;
}

std::vector<VirtualServerKey> strays(const std::vector<VirtualServerState>& live, const Evidence& evidence) {
  std::vector<VirtualServerKey> found;
  for (const VirtualServerState& state : live) {
    const VirtualServerKey& key = state.server.key;
    if (key.firewall_mark != 0 || evidence.addresses_known.contains(key.family)) continue;
    if (evidence.service_addresses.contains(key.address) || evidence.node_addresses.contains(key.address)) continue;
    const bool masqueraded = std::all_of(state.real_servers.begin(), state.real_servers.end(), [](const auto& each) {
      return each.server.method == sluice::ipvs::ForwardMethod::kMasquerade;
    });
    if (masqueraded) found.push_back(key);
  }
  return found;
}

}  // namespace sluice::dataplane::ipvs
