// SPDX-License-Identifier: Apache-2.0
#include "dataplane/mechanism.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace sluice::dataplane {

std::string Objects::to_string() const {
  if (many.empty()) return one;
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

void add(std::vector<Objects>& to, Objects objects) {
  const auto same = std::find_if(to.begin(), to.end(), [&](const Objects& each) { return each.one == objects.one; });
  if (same == to.end()) {
    to.push_back(std::move(objects));
  } else if (!same->many.empty()) {
    same->count += objects.count;
  }
}

Removal remove_all(Mechanism& mechanism, Leftovers leftovers) {
  Removal all;
  all.left = std::move(leftovers);
  while (!all.left.objects.empty()) {
    Removal piece = mechanism.remove(std::move(all.left));
    for (Objects& objects : piece.removed) add(all.removed, std::move(objects));
    std::move(piece.problems.begin(), piece.problems.end(), std::back_inserter(all.problems));
    all.left = std::move(piece.left);
  }
  return all;
}

}  // namespace sluice::dataplane
