// SPDX-License-Identifier: Apache-2.0
// Which addresses may be a Service's at all. One rule for every mode, whatever the node: what depends on the node (its
// own addresses, its gateways) is in dataplane/node.
#pragma once

#include <optional>
#include <string>

#include "base/ip.h"

namespace sluice::plan {

// Why no Service may have the address: "224.0.0.1 is a multicast address". Nothing where one may.
std::optional<std::string> why_unfit(const IpAddress& address);

}  // namespace sluice::plan
