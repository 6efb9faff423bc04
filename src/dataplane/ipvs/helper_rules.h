// SPDX-License-Identifier: Apache-2.0
// The chains, rules and sets of the helper table: the same for any number of Services.
#pragma once

#include <string>
#include <vector>

#include "dataplane/ipvs/helper_table.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::ipvs {

inline constexpr const char* kHelperTableName = "sluice-ipvs";

// The sets' names, which operators read in `nft list table ip sluice-ipvs`. Each is HelperElements' member of that
// name.
inline constexpr const char* kClusterIps = "cluster-ips";
inline constexpr const char* kMasqueraded = "masqueraded";
inline constexpr const char* kUnmasqueraded = "unmasqueraded";
inline constexpr const char* kMasqueradedNodePorts = "masqueraded-node-ports";
inline constexpr const char* kUnmasqueradedNodePorts = "unmasqueraded-node-ports";
inline constexpr const char* kFirewalled = "firewalled";
inline constexpr const char* kSourceRanges = "source-ranges";
inline constexpr const char* kServiceAddresses = "service-addresses";
inline constexpr const char* kHealthCheckPorts = "health-check-ports";
inline constexpr const char* kLocalRealServers = "local-real-servers";

std::vector<sys::NftSet> helper_sets(Family family);
std::vector<sys::NftChain> helper_chains();
std::vector<sys::NftRule> helper_rules(const HelperSettings& settings);

}  // namespace sluice::dataplane::ipvs
