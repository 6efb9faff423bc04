// SPDX-License-Identifier: Apache-2.0
// The kernel lists chains, rules, sets and the elements of each set by dumps of their own, so what another process
// changes meanwhile may be seen half. The number of the generation shows that; where it moves on all the time, since others
// change tables of theirs, the last reading counts: a change that does not fit is refused as a whole, and read again.
#include "dataplane/nftables/live.h"

#include <algorithm>

#include "dataplane/nftables/layout.h"

namespace sluice::dataplane::nftables {
namespace {

constexpr int kReadingsMax = 3;

bool has_no_other(const sys::NftTable& table, const std::vector<sys::NftSet>& wanted) {
  return std::ranges::all_of(wanted, [&](const sys::NftSet& set) {
    const auto found = table.sets.find(set.name);
    return found == table.sets.end() || found->second == set;
  });
}

bool key_less(const sys::NftElement& element, const sys::NftElement& wanted) {
  return std::tie(element.key, element.key_end) < std::tie(wanted.key, wanted.key_end);
}

bool begins_with(const std::vector<std::uint8_t>& key, std::span<const std::uint8_t> prefix) {
  return key.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), key.begin());
}

}  // namespace

Result<Live> Live::read(Family family, const std::vector<sys::NftSet>& wanted_sets) {
  for (int reading = 1;; ++reading) {
    Live live;
    SLUICE_TRY(const std::uint32_t before, sys::nft_generation());
    SLUICE_TRY(live.table_, sys::read_nft_table(family, kTableName));
    if (!live.table_) return live;
    live.usable_ = has_no_other(*live.table_, wanted_sets);
    bool gone = false;
    for (const sys::NftSet& set : wanted_sets) {
      if (!live.usable_ || !live.table_->sets.contains(set.name)) continue;
      auto elements = sys::read_nft_elements(family, kTableName, set.name);
      gone = !elements && elements.error().code == Errc::kNotFound;
      if (gone) break;
      if (!elements) return tl::unexpected(elements.error());
      Elements& read = live.sets_[set.name];
      read.settled.resize(elements->size());
      read.all = *std::move(elements);
    }
    SLUICE_TRY(const std::uint32_t after, sys::nft_generation());
    if (after == before || (reading >= kReadingsMax && !gone)) return live;
    if (reading >= kReadingsMax) return fail(Errc::kUnavailable, "nftables: the table changes while it is read");
  }
}

std::optional<Live::Place> Live::find(const std::string& set, const sys::NftElement& wanted) const {
  const auto found = sets_.find(set);
  if (found == sets_.end()) return std::nullopt;
  const nft::Elements& all = found->second.all;
  const auto at = std::lower_bound(all.begin(), all.end(), wanted, key_less);
  if (at == all.end() || at->key != wanted.key || at->key_end != wanted.key_end) return std::nullopt;
  return Place{&found->first, static_cast<std::size_t>(at - all.begin())};
}

const sys::NftElement& Live::at(const Place& place) const {
  return sets_.at(*place.set).all[place.index];
}

std::vector<Live::Place> Live::beginning_with(const std::string& set, std::span<const std::uint8_t> prefix) const {
  std::vector<Place> places;
  const auto found = sets_.find(set);
  if (found == sets_.end()) return places;
  const nft::Elements& all = found->second.all;
  const auto first = std::partition_point(all.begin(), all.end(), [&](const sys::NftElement& element) {
    return std::lexicographical_compare(element.key.begin(), element.key.end(), prefix.begin(), prefix.end());
  });
  for (auto at = first; at != all.end() && begins_with(at->key, prefix); ++at)
    places.push_back({&found->first, static_cast<std::size_t>(at - all.begin())});
  return places;
}

void Live::settle(const Place& place) {
  sets_.at(*place.set).settled[place.index] = true;
}

const nft::Elements& Live::all(const std::string& set) const {
  static const nft::Elements kNone;
  const auto found = sets_.find(set);
  return found == sets_.end() ? kNone : found->second.all;
}

nft::Elements Live::unsettled(const std::string& set) const {
  nft::Elements rest;
  const auto found = sets_.find(set);
  if (found == sets_.end()) return rest;
  for (std::size_t i = 0; i < found->second.all.size(); ++i) {
    if (!found->second.settled[i]) rest.push_back(found->second.all[i]);
  }
  return rest;
}

}  // namespace sluice::dataplane::nftables
