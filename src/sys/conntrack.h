// SPDX-License-Identifier: Apache-2.0
// The connection tracking table of this network namespace, by ctnetlink.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

// One tracked flow, as its two tuples tell: who asked whom, and who answers.
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

// Dumps the flows of one family and protocol and deletes those that `stale` says yes to; answers how many went. A flow
// that has gone by itself meanwhile is no error. Cost: one pass over the table.
Result<std::size_t> delete_flows(Family family, Protocol protocol, const std::function<bool(const Flow&)>& stale);

}  // namespace sluice::sys
