// SPDX-License-Identifier: Apache-2.0
// For tests: the real kernel's tables in a network namespace of one's own, and a hand between a plane and that kernel.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/nftables/nftables_data_plane.h"
#include "dataplane/nftables/test_rule_machine.h"
#include "sys/test_netns.h"

namespace sluice::dataplane::nftables {

// Commits as the kernel does, unless a test sets something else.
struct Hand {
  std::size_t commits_left = static_cast<std::size_t>(-1);
  // What a commit returns in place of the kernel's word; asked before each.
  std::function<std::optional<Error>(const sys::NftBatch&)> refusal = [](const auto&) { return std::nullopt; };
  std::vector<std::size_t> messages{};  // of each commit that went through

  Result<> operator()(const sys::NftBatch& batch) {
    if (commits_left == 0) return fail(Errc::kUnavailable, "the process has ended");
    if (auto error = refusal(batch)) return tl::unexpected(*std::move(error));
    auto committed = batch.commit();
    if (committed) --commits_left;
    if (committed) messages.push_back(batch.messages());
    return committed;
  }
};

inline std::unique_ptr<NftablesDataPlane> open_plane(Hand& hand, Options options = {}) {
  options.commit = [&hand](const sys::NftBatch& batch) { return hand(batch); };
  auto plane = NftablesDataPlane::open(std::move(options));
  if (!plane) {
    ADD_FAILURE() << plane.error().what;
    std::abort();
  }
  return *std::move(plane);
}

// Another program's change of a table of its own.
inline void change_another_table() {
  static unsigned changes = 0;
  sys::NftBatch batch(Family::kIPv4, "other");
  batch.add_table();
  batch.add_chain({fmt::format("c{}", ++changes), std::nullopt});
  const auto committed = batch.commit();
  EXPECT_TRUE(committed) << committed.error().what;
}

// What intact() returns where it has to look at all that is there.
inline Integrity looked_at(DataPlane& plane) {
  change_another_table();
  const auto integrity = plane.intact();
  if (integrity) return *integrity;
  ADD_FAILURE() << integrity.error().what;
  return Integrity::kNodeChanged;
}

// Where the kernel's rules lead, by what is in the kernel.
inline RuleMachine machine_of_kernel(Family family) {
  const auto table = sys::read_nft_table(family, kTableName);
  EXPECT_TRUE(table) << table.error().what;
  if (!table || !*table) return {family, {}, {}};
  RuleMachine::Elements elements;
  for (const sys::NftSet& set : sets(family)) {
    const auto read = sys::read_nft_elements(family, kTableName, set.name);
    if (read) elements[set.name] = *read;
  }
  return {family, (*table)->rules, std::move(elements)};
}

}  // namespace sluice::dataplane::nftables
