// SPDX-License-Identifier: Apache-2.0
// The one rule that an engine with rules of its own needs in nftables: it replaces the source of what the engine has
// marked. It has a table of its own: the helper table of an engine before it stays as it is until what that engine left
// is removed, since its sets show what that is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/ip.h"
#include "base/result.h"
#include "dataplane/dataplane.h"

namespace sluice::dataplane::ipvs {

inline constexpr const char* kMasqueradeTableName = "sluice-ipvs-masquerade";

// Source ports of masqueraded connections. An engine that rewrites packets before they are routed meets a reply as the
// real server sends it, to the node at one of these ports: if that were a served node port, a reply by UDP would open a
// connection of its own. Kubernetes' node ports end at 32767, where they are not configured otherwise.
inline constexpr std::uint16_t kMasqueradePortFirst = 32768;
inline constexpr std::uint16_t kMasqueradePortLast = 65535;

class MasqueradeTable {
 public:
  virtual ~MasqueradeTable() = default;
  // In one transaction; returns how many objects (rules, sets) were written, none where the table is as it must be.
  virtual Result<std::size_t> replace() = 0;
  // Whether table, chain and rule exist as written.
  virtual Result<bool> intact() = 0;
  virtual Result<Difference> compare() = 0;
  [[nodiscard]] virtual std::size_t rules() const = 0;
};

// In the calling thread's network namespace; `mark` is one bit. kUnsupported if the kernel has no nf_tables for the
// family.
Result<std::unique_ptr<MasqueradeTable>> open_masquerade_table(Family family, std::uint32_t mark);

}  // namespace sluice::dataplane::ipvs
