// SPDX-License-Identifier: Apache-2.0
// The connection tracking table of this network namespace, by ctnetlink.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

// One tracked flow, by its two tuples: client and destination, and where replies come from.
struct Flow {
  Protocol protocol = Protocol::kUdp;
  IpAddress source;
  IpAddress destination;
  IpAddress reply_source;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint16_t reply_source_port = 0;
  std::uint16_t zone = 0;
};

// Dumps the flows of one family and protocol and deletes those for which `stale` returns true; returns their number. A
// flow that has ended by itself meanwhile is no error. Cost: one pass over the table.
Result<std::size_t> delete_flows(Family family, Protocol protocol, const std::function<bool(const Flow&)>& stale);

}  // namespace sluice::sys
