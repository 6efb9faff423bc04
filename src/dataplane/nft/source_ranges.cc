// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/source_ranges.h"

#include <algorithm>
#include <utility>

namespace sluice::dataplane::nft {
namespace {

IpAddress last_address(const Cidr& cidr) {
  Bytes bytes = encode(cidr.address());
  for (std::size_t bit = cidr.prefix_length(); bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] | 0x80U >> bit % 8);
  }
  return IpAddress::from_bytes(bytes).value_or(cidr.address());
}

SourceRanges::ByAddress by_address(const std::set<SourceRange>& ranges) {
  SourceRanges::ByAddress result;
  for (const SourceRange& range : ranges) result[range.to].insert(range.from);
  return result;
}

Elements encode_widest(const SourceRanges::ByAddress& ranges) {
  Elements elements;
  for (const auto& [to, from] : ranges) {
    for (const Cidr& range : widest(from)) elements.push_back(encode(SourceRange{to, range}));
  }
  std::ranges::sort(elements);
  return elements;
}

}  // namespace

std::set<Cidr> widest(const std::set<Cidr>& ranges) {
  std::set<Cidr> result;
  for (const Cidr& range : ranges) {
    const bool inside = std::ranges::any_of(ranges, [&range](const Cidr& other) {
      return other.prefix_length() < range.prefix_length() && other.contains(range.address());
    });
    if (!inside) result.insert(range);
  }
  return result;
}

sys::NftElement encode(const SourceRange& range) {
  sys::NftElement element{encode(range.to), encode(range.to)};
  append_address(element.key, range.from.address());
  append_address(element.key_end, last_address(range.from));
  return element;
}

Elements SourceRanges::encode_all(const std::set<SourceRange>& ranges) {
  return encode_widest(by_address(ranges));
}

void SourceRanges::assign(const std::set<SourceRange>& ranges) {
  ranges_ = by_address(ranges);
}

SourceRanges::Change SourceRanges::change(const std::set<SourceRange>& add, const std::set<SourceRange>& remove) const {
  Change change;
  ByAddress before;
  const auto concerned = [&](const ServedAddress& to) -> std::set<Cidr>& {
    const auto [at, fresh] = change.after.try_emplace(to);
    if (const auto known = ranges_.find(to); fresh && known != ranges_.end()) {
      before.insert(*known);
      at->second = known->second;
    }
    return at->second;
  };
  for (const SourceRange& range : remove) concerned(range.to).erase(range.from);
  for (const SourceRange& range : add) concerned(range.to).insert(range.from);
  const Elements old = encode_widest(before);
  const Elements wanted = encode_widest(change.after);
  change.add = subtract(wanted, old);
  change.remove = subtract(old, wanted);
  return change;
}

void SourceRanges::written(Change&& change) {
  for (auto& [to, from] : change.after) {
    if (from.empty()) {
      ranges_.erase(to);
    } else {
      ranges_.insert_or_assign(to, std::move(from));
    }
  }
}

}  // namespace sluice::dataplane::nft
