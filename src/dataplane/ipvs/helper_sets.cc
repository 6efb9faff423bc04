// SPDX-License-Identifier: Apache-2.0
// An element's key is what the rules put into registers (helper_rules.cc): nft/keys.h defines its layout.
#include "dataplane/ipvs/helper_sets.h"

#include "dataplane/ipvs/helper_rules.h"
#include "dataplane/nft/keys.h"
#include "dataplane/nft/source_ranges.h"

namespace sluice::dataplane::ipvs {
namespace {

template <typename Values, typename Encode>
void encode_into(nft::ElementsBySet& sets, const char* name, const Values& values, Encode encode) {
  if (!values.empty()) sets[name] = nft::elements_with_keys(values, encode);
}

}  // namespace

nft::ElementsBySet encode_elements(const HelperElements& elements) {
  const auto by_fields = [](const auto& value) { return nft::encode(value); };
  nft::ElementsBySet sets;
  encode_into(sets, kClusterIps, elements.cluster_ips, by_fields);
  encode_into(sets, kMasqueraded, elements.masqueraded, by_fields);
  encode_into(sets, kUnmasqueraded, elements.unmasqueraded, by_fields);
  encode_into(sets, kMasqueradedNodePorts, elements.masqueraded_node_ports, by_fields);
  encode_into(sets, kUnmasqueradedNodePorts, elements.unmasqueraded_node_ports, by_fields);
  encode_into(sets, kFirewalled, elements.firewalled, by_fields);
  encode_into(sets, kServiceAddresses, elements.service_addresses, by_fields);
  encode_into(sets, kHealthCheckPorts, elements.health_check_ports, nft::encode_port);
  encode_into(sets, kLocalRealServers, elements.local_real_servers, nft::encode_pair);
  if (!elements.source_ranges.empty()) sets[kSourceRanges] = nft::SourceRanges::encode_all(elements.source_ranges);
  return sets;
}

}  // namespace sluice::dataplane::ipvs
