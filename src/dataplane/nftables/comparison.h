// SPDX-License-Identifier: Apache-2.0
// How the table that is live compares with the one that is wanted, in words for people.
#pragma once

#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/nft/elements.h"
#include "dataplane/nftables/fixed_part.h"
#include "dataplane/nftables/live.h"
#include "dataplane/nftables/parts.h"

namespace sluice::dataplane::nftables {

// `parts` and the elements `unremoved` are known to be there, whether they are needed or not.
Difference compare(Live live, const FixedPart& fixed, const std::vector<plan::ServicePortPlanPtr>& ports,
                   const Parts& parts, const nft::ElementsBySet& unremoved);

}  // namespace sluice::dataplane::nftables
