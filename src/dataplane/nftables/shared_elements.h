// SPDX-License-Identifier: Apache-2.0
// A set whose elements several Service ports may want: one is there as long as any of them does. What is missing and what
// is superfluous is kept, so asking for it costs what it returns, however many elements there are.
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
  // These are there, and none is wanted.
  void assign(const nft::Elements& live) {
    entries_.clear();
    missing_.clear();
    superfluous_.clear();
    for (const sys::NftElement& element : live) update(element.key, [](Entry& entry) { entry.there = true; });
  }
  void want(const nft::Elements& elements) {
    for (const sys::NftElement& element : elements) update(element.key, [](Entry& entry) { ++entry.wanted; });
  }
  void give_up(const nft::Elements& elements) {
    for (const sys::NftElement& element : elements) update(element.key, [](Entry& entry) { --entry.wanted; });
  }
  [[nodiscard]] nft::Elements missing() const { return elements_of(missing_); }
  [[nodiscard]] nft::Elements superfluous() const { return elements_of(superfluous_); }
  // All that missing() returned was added, or all that superfluous() returned removed.
  void note_added() {
    for (const Key& key : std::exchange(missing_, {})) entries_.at(key).there = true;
  }
  void note_removed() {
    for (const Key& key : std::exchange(superfluous_, {})) entries_.erase(key);
  }

 private:
  using Key = std::vector<std::uint8_t>;
  struct Entry {
    std::size_t wanted = 0;
    bool there = false;
  };
  template <typename Change>
  void update(const Key& key, Change change) {
    const auto at = entries_.try_emplace(key).first;
    Entry& entry = at->second;
    change(entry);
    put(missing_, key, entry.wanted > 0 && !entry.there);
    put(superfluous_, key, entry.wanted == 0 && entry.there);
    if (entry.wanted == 0 && !entry.there) entries_.erase(at);
  }
  static void put(std::set<Key>& keys, const Key& key, bool belongs) {
    if (belongs) {
      keys.insert(key);
    } else {
      keys.erase(key);
    }
  }
  static nft::Elements elements_of(const std::set<Key>& keys) {
    nft::Elements elements;
    for (const Key& key : keys) elements.push_back({key, {}});
    return elements;
  }

  std::string set_;
  std::map<Key, Entry> entries_;
  std::set<Key> missing_;
  std::set<Key> superfluous_;
};

}  // namespace sluice::dataplane::nftables
