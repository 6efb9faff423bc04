// SPDX-License-Identifier: Apache-2.0
// Elements of nf_tables' sets and maps: which ones a change adds and removes, and their text form.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "sys/nf_tables.h"

namespace sluice::dataplane::nft {

using Elements = std::vector<sys::NftElement>;  // sorted
using ElementsBySet = std::map<std::string, Elements>;

struct ElementChanges {
  ElementsBySet add;
  ElementsBySet remove;
  [[nodiscard]] std::size_t size() const;
};

// Those of the set; none where it has no entry.
const Elements& elements_of(const ElementsBySet& sets, const std::string& name);
// Sorted elements of a set, whose keys encode() makes of the values.
template <typename Values, typename Encode>
Elements elements_with_keys(const Values& values, Encode encode) {
  Elements elements;
  elements.reserve(values.size());
  for (const auto& value : values) elements.push_back({encode(value), {}});
  std::ranges::sort(elements);
  return elements;
}
// The elements of `left` that are not in `right`.
Elements subtract(const Elements& left, const Elements& right);
// In nft's notation: "10.96.0.10 . udp . 53", "10.96.0.10 . 53 . 0x00000001 : 10.244.1.9 . 5353",
// "10.96.0.10 . tcp . 80 : goto balance". Empty where the bytes are too few for the set's fields.
std::string element_text(const sys::NftSet& set, const sys::NftElement& element);

}  // namespace sluice::dataplane::nft
