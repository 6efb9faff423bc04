// SPDX-License-Identifier: Apache-2.0
// What our table holds whatever the Services are.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/nft/elements.h"
#include "dataplane/nftables/layout.h"

namespace sluice::dataplane::nftables {

struct FixedPart {
  FixedPart(const RuleSettings& settings, NodePortAddresses node_port_addresses);

  [[nodiscard]] const sys::NftSet& set(const std::string& name) const;
  [[nodiscard]] nft::Elements node_addresses() const;  // elements, sorted

  RuleSettings settings;
  NodePortAddresses addresses;  // without loopback: no node port is served there
  std::vector<sys::NftSet> sets;
  std::vector<sys::NftChain> chains;
  std::vector<sys::NftRule> rules;
};

std::vector<std::string> texts(const std::vector<sys::NftRule>& rules);
// Their texts by chain, in order.
std::map<std::string, std::vector<std::string>> by_chain(const std::vector<sys::NftRule>& rules);
// As texts; none where the table has no such chain.
const std::vector<std::string>& rules_of(const sys::NftTable& table, const std::string& chain);

}  // namespace sluice::dataplane::nftables
