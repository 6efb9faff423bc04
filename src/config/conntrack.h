// SPDX-License-Identifier: Apache-2.0
// Which settings of the kernel's connection tracking the configuration requires. Pure; the caller writes them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace sluice::config {

struct SysctlSetting {
  std::string_view name;  // below /proc/sys: "net/netfilter/nf_conntrack_max"
  std::int64_t value = 0;
  friend bool operator==(const SysctlSetting&, const SysctlSetting&) = default;
};

struct ConntrackPlan {
  std::vector<SysctlSetting> settings;  // in the order to write them; each only if it differs
  // /sys/module/nf_conntrack/parameters/hashsize must be at least this, and is raised otherwise; never lowered.
  std::optional<std::int64_t> hash_size_min;
};

// How many connections to track; nothing = leave the kernel's limit alone.
std::optional<std::int64_t> conntrack_max(const ConntrackConfig& config, unsigned processors);
ConntrackPlan conntrack_plan(const ConntrackConfig& config, unsigned processors);

}  // namespace sluice::config
