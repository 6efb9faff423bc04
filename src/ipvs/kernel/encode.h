// SPDX-License-Identifier: Apache-2.0
// Requests of the generic netlink family IPVS. Pure: bytes from values.
#pragma once

#include <cstdint>
#include <optional>

#include "ipvs/engine.h"
#include "sys/genetlink.h"

namespace sluice::ipvs::kernel {

sys::GenericRequest encode(const Change& change);
sys::GenericRequest encode_list();  // of virtual servers
sys::GenericRequest encode_find(const VirtualServerKey& key);
sys::GenericRequest encode_list_real_servers(const VirtualServerKey& key);
sys::GenericRequest encode_zero(const std::optional<VirtualServerKey>& key);
sys::GenericRequest encode_flush();
sys::GenericRequest encode_info();
sys::GenericRequest encode_timeouts();
sys::GenericRequest encode_set_timeouts(const Timeouts& timeouts);
sys::GenericRequest encode_list_daemons();
sys::GenericRequest encode_start(const SyncDaemon& daemon);
sys::GenericRequest encode_stop(SyncRole role);

}  // namespace sluice::ipvs::kernel
