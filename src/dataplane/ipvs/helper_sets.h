// SPDX-License-Identifier: Apache-2.0
// HelperElements as elements of nf_tables' sets.
#pragma once

#include "dataplane/ipvs/helper_table.h"
#include "dataplane/nft/elements.h"

namespace sluice::dataplane::ipvs {

// By the set's name; sets without elements are left out.
nft::ElementsBySet encode_elements(const HelperElements& elements);

}  // namespace sluice::dataplane::ipvs
