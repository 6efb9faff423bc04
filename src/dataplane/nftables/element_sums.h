// SPDX-License-Identifier: Apache-2.0
// What a set must hold, as a number: the sum of one for each element. It follows every change at the price of that change,
// and a listing of the set shows whether it holds just that, without a copy of the elements.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {

std::uint64_t digest(const sys::NftElement& element);

class ElementSums {
 public:
  void add(const std::string& set, std::span<const sys::NftElement> elements) {
    for (const sys::NftElement& element : elements) sums_[set] += digest(element);
  }
  void remove(const std::string& set, std::span<const sys::NftElement> elements) {
    for (const sys::NftElement& element : elements) sums_[set] -= digest(element);
  }
  void clear() { sums_.clear(); }
  [[nodiscard]] std::uint64_t of(const std::string& set) const {
    const auto found = sums_.find(set);
    return found == sums_.end() ? 0 : found->second;
  }

 private:
  std::map<std::string, std::uint64_t> sums_;  // modulo 2^64
};

}  // namespace sluice::dataplane::nftables
