// SPDX-License-Identifier: Apache-2.0
// What the sets of the helper table hold: addresses and ports of Services, sorted by what is done to their packets.
#pragma once

#include <cstdint>
#include <set>

#include "base/ip.h"
#include "dataplane/nft/element_counts.h"
#include "dataplane/nft/keys.h"

namespace sluice::dataplane::ipvs {

using nft::NodePort;
using nft::ServedAddress;
using nft::SourceRange;

// A container for each set. All elements are of one family.
template <template <typename> typename Container>
struct HelperSets {
  Container<ServedAddress> cluster_ips;  // masqueraded by the policy: sources that are no local pods, or all
  // External and load-balancer addresses whose clients are hidden (policy Cluster).
  Container<ServedAddress> masqueraded;
  Container<ServedAddress> unmasqueraded;      // those whose clients stay visible (policy Local)
  Container<NodePort> masqueraded_node_ports;  // node ports with policy Cluster
  // Those with policy Local: no rule checks them, they are on record for cleanup.
  Container<NodePort> unmasqueraded_node_ports;
  Container<ServedAddress> firewalled;  // reached only from source_ranges
  Container<SourceRange> source_ranges;
  Container<IpAddress> service_addresses;       // on kube-ipvs0: what is not served there is rejected
  Container<std::uint16_t> health_check_ports;  // TCP, reachable on every address
  // Pods of this node: masqueraded where one reaches itself through a Service.
  Container<IpAddress> local_real_servers;
  friend bool operator==(const HelperSets&, const HelperSets&) = default;
};

// Calls body for each set, with its containers in `all`.
template <typename Body, typename... All>
void for_each_set(Body body, All&... all) {
  body(all.cluster_ips...);
  body(all.masqueraded...);
  body(all.unmasqueraded...);
  body(all.masqueraded_node_ports...);
  body(all.unmasqueraded_node_ports...);
  body(all.firewalled...);
  body(all.source_ranges...);
  body(all.service_addresses...);
  body(all.health_check_ports...);
  body(all.local_real_servers...);
}

template <typename T>
using SortedSet = std::set<T>;
using HelperElements = HelperSets<SortedSet>;
// Elements with the number of Service ports that want each.
using HelperCounts = HelperSets<nft::ElementCounts>;

}  // namespace sluice::dataplane::ipvs
