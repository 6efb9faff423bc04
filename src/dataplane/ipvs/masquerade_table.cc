// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/masquerade_table.h"

#include <netinet/in.h>

// The kernel's headers yield to libc's where these come first.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>

#include <array>
#include <utility>
#include <vector>

#include "dataplane/ipvs/helper_table.h"
#include "dataplane/nft/keys.h"
#include "dataplane/nft/owned_table.h"
#include "dataplane/nft/words.h"

namespace sluice::dataplane::ipvs {
namespace {

constexpr const char* kChain = "masquerade-postrouting";

std::vector<sys::NftRule> marked_rule(std::uint32_t mark) {
  constexpr unsigned kFirstSlot = 8;
  constexpr unsigned kLastSlot = 12;
  std::vector<sys::NftRule> rules;
  // The mark is taken away, since this packet may come by again in a tunnel.
  nft::Words::take_mark(rules.emplace_back(kChain, "marked by the engine"), mark)
      .load_value(nft::encode_port(kMasqueradePortFirst), kFirstSlot)
      .load_value(nft::encode_port(kMasqueradePortLast), kLastSlot)
      .masquerade_to_ports(NF_NAT_RANGE_PROTO_RANDOM_FULLY, kFirstSlot, kLastSlot);
  return rules;
}

class NetlinkMasqueradeTable : public MasqueradeTable {
 public:
  NetlinkMasqueradeTable(Family family, std::uint32_t mark)
      : table_(family, kMasqueradeTableName, {}, {{kChain, sys::NftHook{"nat", NF_INET_POST_ROUTING, nft::kNatSource}}},
               marked_rule(mark)) {}

  Result<std::size_t> replace() override { return table_.replace({}); }
  Result<bool> intact() override { return table_.intact(); }
  Result<Difference> compare() override { return table_.compare({}); }
  [[nodiscard]] std::size_t rules() const override { return table_.rules(); }

 private:
  nft::OwnedTable table_;
};

}  // namespace

Result<std::unique_ptr<MasqueradeTable>> open_masquerade_table(Family family, std::uint32_t mark) {
  SLUICE_CHECK_OK(check_nf_tables(family));
  return std::unique_ptr<MasqueradeTable>(std::make_unique<NetlinkMasqueradeTable>(family, mark));
}

}  // namespace sluice::dataplane::ipvs
