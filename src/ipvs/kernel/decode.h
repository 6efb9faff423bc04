// SPDX-License-Identifier: Apache-2.0
// Replies of the generic netlink family IPVS. Pure: values from the attributes of one message. Attributes that we do
// not know are ignored; a reply without what every kernel since 6.1 sends is refused, with the name of what is
// missing.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "ipvs/engine.h"

namespace sluice::ipvs::kernel {

using Bytes = std::span<const std::uint8_t>;

Result<VirtualServerState> decode_virtual_server(Bytes attributes);  // without its real servers
Result<RealServerState> decode_real_server(Bytes attributes, Family of_virtual_server);
Result<SyncDaemon> decode_daemon(Bytes attributes);
Result<Timeouts> decode_timeouts(Bytes attributes);
Result<EngineInfo> decode_info(Bytes attributes);

}  // namespace sluice::ipvs::kernel
