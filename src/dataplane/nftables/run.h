// SPDX-License-Identifier: Apache-2.0
// What one call of NftablesDataPlane::apply() keeps.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/nftables/nftables_data_plane.h"

namespace sluice::dataplane::nftables {

// What is live may not be what we think: something to be removed is not there, something to be added is. Or the kernel
// lacks something that a rule needs, which is ENOENT, too.
inline bool means_surprise(const Error& error) {
  return error.code == Errc::kNotFound || error.code == Errc::kAlreadyExists;
}

// Where so many objects of one call were refused, those that share a batch with another one wait for the next call.
constexpr std::size_t kRefusalsMax = 16;

// What a batch brings of chains and sets.
struct NftablesDataPlane::PutParts {
  std::vector<sys::NftSet> sets;
  std::vector<Parts::LiveChain> chains;
  std::vector<Treatment> treatments;
  std::set<std::string> names;  // of the chains
};

struct NftablesDataPlane::Run {
  explicit Run(std::size_t batch_max) : batch_objects_max(batch_max) {}
  Outcome outcome;
  std::optional<Live> live;                // of a full apply
  std::optional<sys::NftBatch> beginning;  // what the first batch begins with
  PutParts parts_of_beginning;
  nft::Elements node_addresses_of_beginning;
  std::size_t batch_objects_max = 0;
  std::size_t refusals = 0;
  bool surprises_are_refusals = false;  // reading again has not helped

  void count(std::size_t objects) { outcome.stats.rules_written += objects; }
};

}  // namespace sluice::dataplane::nftables
