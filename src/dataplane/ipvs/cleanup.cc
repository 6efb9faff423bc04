// SPDX-License-Identifier: Apache-2.0
// kube-proxy's own cleanup empties the whole table of IPVS, also of virtual servers that somebody made by hand or that
// another program balances. What is ours can be told from the rest: it stands on an address that kube-ipvs0 carries, or
// that our nftables table lists, or it is a node port's, on an address of the node with a port that we, or kube-proxy's
// IP sets, have on record. The table is asked, too, because operators have learnt to delete the device by hand.
#include "dataplane/ipvs/cleanup.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "dataplane/ipvs/helper_rules.h"
#include "dataplane/ipvs/helper_sets.h"
#include "dataplane/ipvs/ipvs_sysctls.h"
#include "dataplane/ipvs/node_port_record.h"
#include "dataplane/ipvs/wanted.h"
#include "sys/links.h"
#include "sys/netfilter_objects.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::ipvs {
namespace {

struct NodePortSet {
  const char* name;
  Protocol protocol;
};
// pkg/proxy/ipvs/ipset.go; for IPv6 "KUBE-" becomes "KUBE-6-". Those of policy Local are listed in these, too.
constexpr std::array kNodePortSets{
    NodePortSet{"KUBE-NODE-PORT-TCP", Protocol::kTcp},
    NodePortSet{"KUBE-NODE-PORT-UDP", Protocol::kUdp},
    NodePortSet{"KUBE-NODE-PORT-SCTP-HASH", Protocol::kSctp},
    NodePortSet{"KUBE-6-NODE-PORT-TCP", Protocol::kTcp},
    NodePortSet{"KUBE-6-NODE-PORT-UDP", Protocol::kUdp},
    NodePortSet{"KUBE-6-NODE-PORT-SCTP-HASH", Protocol::kSctp},
};

std::set<NodePort> known_node_ports(const std::string& state_folder, Cleaned& cleaned) {
  std::set<NodePort> ports;
  for (const Family family : kFamilies) {
    const NodePortRecord record(state_folder, family);
    ports.insert(record.ports().begin(), record.ports().end());
  }
  for (const NodePortSet& set : kNodePortSets) {
    const auto listed = sys::list_ipset_ports(set.name);
    if (listed) {
      for (const std::uint16_t port : *listed) ports.insert({set.protocol, port});
    } else if (listed.error().code != Errc::kNotFound && listed.error().code != Errc::kUnsupported) {
      cleaned.problems.push_back(listed.error().what);
    }
  }
  return ports;
}

// As if kube-ipvs0 carried them.
void add_listed_addresses(std::vector<sys::InterfaceAddress>& addresses, Cleaned& cleaned) {
  for (const Family family : kFamilies) {
    const auto listed = sys::read_nft_elements(family, kHelperTableName, kServiceAddresses);
    if (!listed) {
      if (listed.error().code != Errc::kNotFound && listed.error().code != Errc::kUnsupported)
        cleaned.problems.push_back(listed.error().what);
      continue;
    }
    for (const sys::NftElement& element : *listed) {
      const auto address = IpAddress::from_bytes(element.key);
      if (address) addresses.push_back({kServiceDevice, *address, static_cast<unsigned>(element.key.size() * 8)});
    }
  }
}

void remove_virtual_servers(sluice::ipvs::Engine& engine, const std::vector<sys::InterfaceAddress>& addresses,
                            const std::set<NodePort>& node_ports, Cleaned& cleaned) {
  std::vector<VirtualServerKey> live;
  const auto keep_key = [&](const VirtualServerKey& key) {
    live.push_back(key);
    return false;
  };
  const auto listed = engine.list(keep_key, [](const sluice::ipvs::VirtualServerState&) {});
  if (!listed) return cleaned.problems.push_back(listed.error().what);
  std::vector<sluice::ipvs::Change> removals;
  for (const VirtualServerKey& key : owned_virtual_servers(live, addresses, node_ports)) {
    removals.emplace_back(sluice::ipvs::RemoveVirtualServer{key});
  }
  if (removals.empty()) return;
  const auto failures = engine.apply(removals);
  if (!failures) return cleaned.problems.push_back(failures.error().what);
  for (const sluice::ipvs::Failure& failure : *failures) cleaned.problems.push_back(failure.error.what);
  const std::size_t removed = removals.size() - failures->size();
  if (removed > 0) cleaned.removed.push_back(fmt::format("{} virtual server{}", removed, removed == 1 ? "" : "s"));
}

void remove_device(Cleaned& cleaned) {
  const auto exists = sys::link_exists(kServiceDevice);
  if (!exists) return cleaned.problems.push_back(exists.error().what);
  if (!*exists) return;
  if (const auto removed = sys::remove_link(kServiceDevice); !removed)
    return cleaned.problems.push_back(removed.error().what);
  cleaned.removed.push_back(fmt::format("the device {}", kServiceDevice));
}

void remove_tables(Cleaned& cleaned) {
  for (const Family family : kFamilies) {
    const auto removed = remove_helper_table(family);
    if (!removed) {
      cleaned.problems.push_back(removed.error().what);
    } else if (*removed) {
      cleaned.removed.push_back(
          fmt::format("the nftables table {} sluice-ipvs", family == Family::kIPv4 ? "ip" : "ip6"));
    }
  }
}

void restore_settings(const std::string& state_folder, Cleaned& cleaned) {
  const SysctlReport report = restore_sysctls(state_folder);
  for (const SysctlSetting& setting : report.changed) {
    cleaned.removed.push_back(fmt::format("our value of {} (it is {} again)", setting.name, setting.value));
  }
  for (const Error& problem : report.problems) cleaned.problems.push_back(problem.what);
}

}  // namespace

std::vector<VirtualServerKey> owned_virtual_servers(const std::vector<VirtualServerKey>& live,
                                                    const std::vector<sys::InterfaceAddress>& addresses,
                                                    const std::set<NodePort>& node_ports) {
  std::set<IpAddress> of_services;
  std::set<IpAddress> of_node;
  for (const sys::InterfaceAddress& entry : addresses) {
    (entry.interface == kServiceDevice ? of_services : of_node).insert(entry.address);
  }
  std::set<std::pair<std::uint16_t, std::uint16_t>> ports;  // by the protocol's number
  for (const NodePort& each : node_ports) ports.emplace(ip_protocol_number(each.protocol), each.port);
  std::vector<VirtualServerKey> owned;
  std::copy_if(live.begin(), live.end(), std::back_inserter(owned), [&](const VirtualServerKey& key) {
    if (key.firewall_mark != 0) return false;
    return of_services.contains(key.address) ||
           (of_node.contains(key.address) && ports.contains({key.protocol, key.port}));
  });
  return owned;
}

Cleaned cleanup_ipvs(sluice::ipvs::Engine* engine, const std::string& state_folder) {
  Cleaned cleaned;
  if (engine != nullptr) {
    auto addresses = open_service_device()->list_addresses();
    if (addresses) {
      add_listed_addresses(*addresses, cleaned);
      remove_virtual_servers(*engine, *addresses, known_node_ports(state_folder, cleaned), cleaned);
    } else {
      cleaned.problems.push_back(addresses.error().what);
    }
  }
  remove_device(cleaned);
  remove_tables(cleaned);
  if (state_folder.empty()) return cleaned;
  restore_settings(state_folder, cleaned);
  for (const Family family : kFamilies) {
    if (const auto removed = NodePortRecord(state_folder, family).remove(); !removed)
      cleaned.problems.push_back(removed.error().what);
  }
  return cleaned;
}

}  // namespace sluice::dataplane::ipvs
