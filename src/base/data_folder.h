// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sluice {

// Where files are that must survive a restart of the daemon, unless the configuration names another folder.
inline constexpr const char* kDefaultDataFolder = "/run/sluice";

}  // namespace sluice
