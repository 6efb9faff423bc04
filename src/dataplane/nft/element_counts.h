// SPDX-License-Identifier: Apache-2.0
// Most elements of a table are wanted by one Service port alone, but some are shared: an address by the ports of its
// Service, a pod by all Services that it serves. Such an element must be added with the first user and removed with the
// last, without a look at all the others. So its users are counted. A caller that adds what is wanted now before
// removing what was wanted before never removes an element that both contain.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

namespace sluice::dataplane::nft {

// Of one set or map: T is an element as a value (ServedAddress), or as it is written (sys::NftElement). A range of
// elements that is given must have none twice; one of them may still be counted many times, once for each call.
template <typename T>
class ElementCounts {
 public:
  // Returns the elements that were not counted before, in the order given.
  template <typename Range>
  std::vector<T> add(const Range& elements) {
    std::vector<T> appeared;
    for (const T& element : elements) {
      if (++counts_[element] == 1) appeared.push_back(element);
    }
    return appeared;
  }
  // Returns the elements that are no longer counted, in the order given. One that is not counted is passed over.
  template <typename Range>
  std::vector<T> remove(const Range& elements) {
    std::vector<T> gone;
    for (const T& element : elements) {
      const auto counted = counts_.find(element);
      if (counted == counts_.end() || --counted->second > 0) continue;
      counts_.erase(counted);
      gone.push_back(element);
    }
    return gone;
  }

  [[nodiscard]] std::vector<T> all() const {  // sorted
    std::vector<T> elements;
    elements.reserve(counts_.size());
    for (const auto& [element, count] : counts_) elements.push_back(element);
    return elements;
  }
  [[nodiscard]] std::size_t size() const { return counts_.size(); }
  [[nodiscard]] bool contains(const T& element) const { return counts_.contains(element); }

 private:
  std::map<T, std::size_t> counts_;
};

}  // namespace sluice::dataplane::nft
