// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/generation.h"

#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {

Result<std::uint64_t> Generation::epoch() {
  SLUICE_TRY(const std::uint32_t number, sys::nft_generation());
  if (number_ != number) {
    number_ = number;
    ++epoch_;
  }
  return epoch_;
}

void Generation::look_or_doubt() {
  if (epoch()) return;
  number_.reset();
  ++epoch_;
}

// One that the kernel does not count would hide the next change of another program: that is why the number is compared
// right before and right after it, too, and not only where a plane wants to know.
Result<> Generation::commit(const std::function<Result<>()>& write) {
  look_or_doubt();
  const auto committed = write();
  if (committed && number_ && ++*number_ == 0) number_ = 1;  // the kernel leaves out 0
  look_or_doubt();
  return committed;
}

}  // namespace sluice::dataplane::nftables
