// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/element_sums.h"

#include "dataplane/nftables/digest.h"

namespace sluice::dataplane::nftables {

std::uint64_t digest(const sys::NftElement& element) {
  Digest digest;
  digest.add(element.key);
  digest.add(element.key_end);
  digest.add(element.value);
  digest.add_number(element.verdict ? element.verdict->code : 0);
  if (element.verdict) digest.add(element.verdict->chain);
  return digest.value();
}

}  // namespace sluice::dataplane::nftables
