// SPDX-License-Identifier: Apache-2.0
// HelperElements as elements of nf_tables' sets, and back as text for people.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "dataplane/ipvs/helper_table.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::ipvs {

using NftElements = std::vector<sys::NftElement>;

// By the set's name, sorted; sets without elements are left out.
std::map<std::string, NftElements> encode_elements(const HelperElements& elements);
sys::NftElement encode_source_range(const SourceRange& range);
// Without the ranges that lie in another one of them: nf_tables refuses elements that overlap.
std::set<Cidr> widest(const std::set<Cidr>& ranges);
// "10.96.0.10 . udp . 53", as nft prints it.
std::string element_text(std::span<const sys::NftField> key, const sys::NftElement& element);
// What `left` has and `right` lacks; both sorted.
NftElements subtract(const NftElements& left, const NftElements& right);

}  // namespace sluice::dataplane::ipvs
