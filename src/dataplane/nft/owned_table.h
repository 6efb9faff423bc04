// SPDX-License-Identifier: Apache-2.0
// A table of nf_tables that is only ours: its chains, rules and sets are given once and never change, Services are
// elements of its sets and maps. So a change costs its elements, whatever the table holds. nf_tables changes a table as
// a whole or not at all: rewriting it, old rules out and new ones in, leaves no moment without rules. What is live is
// always read from the kernel.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "dataplane/dataplane.h"
#include "dataplane/nft/elements.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nft {

// All functions act on the calling thread's network namespace.
class OwnedTable {
 public:
  OwnedTable(Family family, std::string name, std::vector<sys::NftSet> sets, std::vector<sys::NftChain> chains,
             std::vector<sys::NftRule> rules);

  // Makes the table what it must be, in one transaction: rewritten if it is missing or its rules differ, otherwise
  // only the elements that differ. Returns how many objects (rules, sets, elements) were written.
  [[nodiscard]] Result<std::size_t> replace(const ElementsBySet& wanted) const;
  // In one transaction. Adding an existing element, or removing a missing one, is no error; one that
  // is in both lists stays.
  [[nodiscard]] Result<std::size_t> change(ElementChanges changes) const;
  // Whether table, chains, rules and sets exist as written. Cheap: elements are not checked.
  [[nodiscard]] Result<bool> intact() const;
  [[nodiscard]] Result<Difference> compare(const ElementsBySet& wanted) const;
  [[nodiscard]] std::size_t rules() const { return rules_.size(); }

 private:
  [[nodiscard]] Result<std::size_t> write_anew(const ElementsBySet& elements, bool there) const;
  [[nodiscard]] Result<std::size_t> write_difference(const ElementsBySet& wanted) const;
  [[nodiscard]] Result<> commit(const ElementChanges& changes) const;

  Family family_;
  std::string name_;
  std::vector<sys::NftSet> sets_;
  std::vector<sys::NftChain> chains_;
  std::vector<sys::NftRule> rules_;
  sys::NftTable wanted_;  // what read_nft_table() returns if nothing was changed
};

}  // namespace sluice::dataplane::nft
