// SPDX-License-Identifier: Apache-2.0
// Our table of one family: its maps, but for those of affinity.h, and the chains that do not depend on Services.
// test/golden/nftables has it as nft prints it.
#pragma once

#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/nftables/treatment.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {

inline constexpr const char* kTableName = "sluice-nftables";

// address . protocol . port of a frontend : its treatment's chain
inline constexpr const char* kFrontends = "frontends";
inline constexpr const char* kNodePorts = "node-ports";  // protocol . port
// A frontend's key . slot : address . port of a real server. Those of the local pool begin at kLocalSlots.
inline constexpr const char* kEndpoints = "endpoints";
inline constexpr const char* kNodePortEndpoints = "node-port-endpoints";
inline constexpr std::uint32_t kLocalSlots = 0x10000;
// address . protocol . port . source
inline constexpr const char* kSourceRanges = "source-ranges";
inline constexpr const char* kClusterIps = "cluster-ips";
// address . address of a real server that may call itself through a Service.
inline constexpr const char* kHairpins = "hairpins";
inline constexpr const char* kNodeAddresses = "node-addresses";  // where node ports are served, if not on all

inline constexpr const char* kServicesChain = "services";
inline constexpr const char* kRefuseChain = "refuse";
inline constexpr const char* kPrerouting = "nat-prerouting";
inline constexpr const char* kOutput = "nat-output";
inline constexpr const char* kPostrouting = "nat-postrouting";

std::vector<sys::NftSet> sets(Family family);
std::vector<sys::NftChain> fixed_chains();
std::vector<sys::NftRule> fixed_rules(const RuleSettings& settings, bool node_ports_on_all_addresses);

}  // namespace sluice::dataplane::nftables
