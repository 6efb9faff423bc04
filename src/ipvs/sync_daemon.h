// SPDX-License-Identifier: Apache-2.0
// The sync daemons: a master multicasts its connections, a backup receives them, so that a second machine can continue
// them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/ip.h"

namespace sluice::ipvs {

enum class SyncRole : std::uint8_t { kMaster = 1, kBackup = 2 };

struct SyncDaemon {
  SyncRole role = SyncRole::kMaster;
  std::string interface;
  std::uint32_t sync_id = 0;  // a backup with 0 listens to every master, otherwise to masters with its own number
  // What is 0 or absent below is chosen by the engine: its list shows the choice.
  std::uint16_t message_bytes_max = 0;
  std::optional<IpAddress> group;  // 224.0.0.81
  std::uint16_t port = 0;          // 8848
  std::uint8_t ttl = 0;            // 1
  friend bool operator==(const SyncDaemon&, const SyncDaemon&) = default;
};

}  // namespace sluice::ipvs
