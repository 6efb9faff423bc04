// SPDX-License-Identifier: Apache-2.0
// The filter and masquerade rules that IPVS needs beside its virtual servers, as one nftables table per family,
// "sluice-ipvs". Its rules never change; Services are elements of its sets, so a change costs its elements. Reference:
// docs/mode-ipvs.md.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

#include "base/ip.h"
#include "base/result.h"
#include "dataplane/dataplane.h"
#include "dataplane/ipvs/helper_elements.h"
#include "plan/plan.h"

namespace sluice::dataplane::ipvs {

struct HelperSettings {
  Family family = Family::kIPv4;
  plan::MasqueradePolicy masquerade;
  unsigned masquerade_bit = 14;
};

class HelperTable {
 public:
  virtual ~HelperTable() = default;
  // Makes the table what it must be, in one transaction: rewritten if it is missing or its rules differ,
  // otherwise only the elements that differ. Returns how many objects (rules, sets, elements) were written.
  virtual Result<std::size_t> replace(const HelperElements& wanted) = 0;
  // Adds and removes elements in one transaction. Adding an existing element, or removing a missing one, is no error.
  virtual Result<std::size_t> change(const HelperElements& add, const HelperElements& remove) = 0;
  // Whether table, chains and rules exist as written. Cheap; elements are not checked.
  virtual Result<bool> intact() = 0;
  virtual Result<Difference> compare(const HelperElements& wanted) = 0;
  // Of nftables.
  [[nodiscard]] virtual std::size_t rules() const = 0;
  // What holds the elements: "nftables", or an engine's name.
  [[nodiscard]] virtual std::string_view elements_in() const { return "nftables"; }
};

// kUnsupported if the kernel has no nf_tables for the family. In the calling thread's network namespace.
Result<> check_nf_tables(Family family);

// By netlink (libnftnl), in the calling thread's network namespace. Errors are those of check_nf_tables().
Result<std::unique_ptr<HelperTable>> open_helper_table(const HelperSettings& settings);
// Removes the family's table; returns whether there was one.
Result<bool> remove_helper_table(Family family);

}  // namespace sluice::dataplane::ipvs
