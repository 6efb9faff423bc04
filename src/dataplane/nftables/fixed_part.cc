// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/fixed_part.h"

#include <algorithm>

#include "base/check.h"
#include "dataplane/nft/keys.h"
#include "dataplane/nftables/encode.h"

namespace sluice::dataplane::nftables {

FixedPart::FixedPart(const RuleSettings& rule_settings, NodePortAddresses node_port_addresses)
    : settings(rule_settings),
      addresses(std::move(node_port_addresses)),
      sets(nftables::sets(settings.family)),
      chains(fixed_chains()),
      rules(fixed_rules(settings, addresses.all_local)) {
  std::erase_if(addresses.addresses, [](const IpAddress& address) { return address.is_loopback(); });
}

const sys::NftSet& FixedPart::set(const std::string& name) const {
  const auto found = std::ranges::find(sets, name, &sys::NftSet::name);
  SLUICE_CHECK(found != sets.end());
  return *found;
}

nft::Elements FixedPart::node_addresses() const {
  if (addresses.all_local) return {};
  return nft::elements_with_keys(addresses.addresses, [](const IpAddress& address) { return nft::encode(address); });
}

std::vector<std::string> texts(const std::vector<sys::NftRule>& rules) {
  std::vector<std::string> result;
  for (const sys::NftRule& rule : rules) result.push_back(rule.text());
  return result;
}

std::map<std::string, std::vector<std::string>> by_chain(const std::vector<sys::NftRule>& rules) {
  std::map<std::string, std::vector<std::string>> result;
  for (const sys::NftRule& rule : rules) result[rule.chain()].push_back(rule.text());
  return result;
}

const std::vector<std::string>& rules_of(const sys::NftTable& table, const std::string& chain) {
  static const std::vector<std::string> kNone;
  const auto found = table.rules.find(chain);
  return found == table.rules.end() ? kNone : found->second;
}

}  // namespace sluice::dataplane::nftables
