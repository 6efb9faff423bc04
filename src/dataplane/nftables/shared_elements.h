// SPDX-License-Identifier: Apache-2.0
// A set whose elements several Service ports may want: one is there as long as any of them does. What it costs to ask
// what is missing follows from what changed since it was asked last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/nft/elements.h"

namespace sluice::dataplane::nftables {

class SharedElements {
 public:
  explicit SharedElements(std::string set) : set_(std::move(set)) {}

  [[nodiscard]] const std::string& set() const { return set_; }
  // These are there, and nobody wants any.
  void assign(const nft::Elements& live) {
    entries_.clear();
    changed_.clear();
    for (const sys::NftElement& element : live) at(element).there = true;
  }
  void want(const nft::Elements& elements) {
    for (const sys::NftElement& element : elements) ++at(element).wanted;
  }
  void give_up(const nft::Elements& elements) {
    for (const sys::NftElement& element : elements) --at(element).wanted;
  }
  [[nodiscard]] nft::Elements missing() const {
    return pick([](const Entry& entry) { return entry.wanted > 0 && !entry.there; });
  }
  [[nodiscard]] nft::Elements superfluous() const {
    return pick([](const Entry& entry) { return entry.wanted == 0 && entry.there; });
  }
  // All that missing() returned was added, or all that superfluous() returned removed.
  void note_added() {
    for (const Key& key : changed_) entries_.at(key).there |= entries_.at(key).wanted > 0;
  }
  void note_removed() {
    for (const Key& key : changed_) {
      if (entries_.at(key).wanted == 0) entries_.at(key).there = false;
    }
  }
  // From here on nothing has changed.
  void forget_changes() {
    for (const Key& key : std::exchange(changed_, {})) {
      const auto entry = entries_.find(key);
      if (entry->second.wanted == 0 && !entry->second.there) entries_.erase(entry);
    }
  }
  [[nodiscard]] nft::Elements wanted() const {
    nft::Elements all;
    for (const auto& [key, entry] : entries_) {
      if (entry.wanted > 0) all.push_back({key, {}});
    }
    return all;
  }

 private:
  using Key = std::vector<std::uint8_t>;
  struct Entry {
    std::size_t wanted = 0;
    bool there = false;
  };
  Entry& at(const sys::NftElement& element) {
    changed_.insert(element.key);
    return entries_[element.key];
  }
  template <typename Picks>
  [[nodiscard]] nft::Elements pick(Picks picks) const {
    nft::Elements picked;
    for (const Key& key : changed_) {
      if (picks(entries_.at(key))) picked.push_back({key, {}});
    }
    return picked;
  }

  std::string set_;
  std::map<Key, Entry> entries_;
  std::set<Key> changed_;
};

}  // namespace sluice::dataplane::nftables
