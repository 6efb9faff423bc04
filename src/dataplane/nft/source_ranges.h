// SPDX-License-Identifier: Apache-2.0
// Source ranges of served addresses as a set of intervals. The kernel implements such a set by an algorithm without
// priorities (net/netfilter/nft_set_pipapo.c): of 10.0.0.0/8 and 10.1.0.0/16 for one address it refuses the second. So
// only the widest ranges are written, which mean the same. When a wide range is removed, those in it must be written,
// and the kernel never had them: they are remembered here.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "dataplane/nft/elements.h"
#include "dataplane/nft/keys.h"

namespace sluice::dataplane::nft {

// Without the ranges that are contained in another one.
std::set<Cidr> widest(const std::set<Cidr>& ranges);
// Its key is that of the address followed by the range's first address, its end the same with the last one.
sys::NftElement encode(const SourceRange& range);

class SourceRanges {
 public:
  // The elements of all ranges, sorted.
  static Elements encode_all(const std::set<SourceRange>& ranges);

  // These are written, and no others.
  void assign(const std::set<SourceRange>& ranges);

  using ByAddress = std::map<ServedAddress, std::set<Cidr>>;
  struct Change {
    Elements add;
    Elements remove;
    ByAddress after;  // the ranges of the addresses concerned
  };
  // What must be written for a change. Records nothing: written() does, once it is written.
  [[nodiscard]] Change change(const std::set<SourceRange>& add, const std::set<SourceRange>& remove) const;
  void written(Change&& change);

 private:
  ByAddress ranges_;  // also those contained in others
};

}  // namespace sluice::dataplane::nft
