// SPDX-License-Identifier: Apache-2.0
// Whether only this process has changed tables of nf_tables: the kernel numbers their states (sys::nft_generation()), and
// here the commits of our own are counted. The number is of the whole network namespace, so the planes of both families
// share one object, on one thread. A commit that changes nothing leaves the number as it is, so the kernel is asked around
// each commit.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/result.h"

namespace sluice::dataplane::nftables {

class Generation {
 public:
  // The same number as before: all changes since then are our own. What was known of a table in one epoch is to be looked
  // at again in another one. Asks the kernel, once.
  Result<std::uint64_t> epoch();
  // Calls `write`, which is one commit of ours.
  Result<> commit(const std::function<Result<>()>& write);

 private:
  void look_or_doubt();

  std::optional<std::uint32_t> number_;  // the kernel's, where only we have committed since it was read
  std::uint64_t epoch_ = 0;
};

}  // namespace sluice::dataplane::nftables
