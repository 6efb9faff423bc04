// SPDX-License-Identifier: Apache-2.0
// Which addresses a Service may have at all. One rule for every mode and node: what depends on the node (its
// own addresses, its gateways) is in dataplane/node.
#pragma once

#include <optional>
#include <string>

#include "base/ip.h"

namespace sluice::plan {

// Why no Service may have the address: "224.0.0.1 is a multicast address". Nothing if one may.
std::optional<std::string> why_unfit(const IpAddress& address);

}  // namespace sluice::plan
