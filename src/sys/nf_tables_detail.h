// SPDX-License-Identifier: Apache-2.0
// What the files of nf_tables.h share, and only they include.
#pragma once

#include <cstdint>
#include <string>

#include "base/ip.h"
#include "base/result.h"

struct nftnl_rule;

namespace sluice::sys {

struct NftSet;

std::uint8_t nft_family(Family family);                               // NFPROTO_IPV4 or NFPROTO_IPV6
std::string nft_table_name(Family family, const std::string& table);  // "table ip6 filter", as nft prints it
Error nft_error(const std::string& doing, int error);
std::string nft_rule_text(nftnl_rule& rule);
std::uint32_t nft_set_flags(const NftSet& set);  // NFT_SET_...

}  // namespace sluice::sys
