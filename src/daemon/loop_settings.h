// SPDX-License-Identifier: Apache-2.0
// The control loop's settings, from the configuration and this node.
#pragma once

#include "config/flags.h"
#include "daemon/own_node.h"
#include "daemon/planes.h"
#include "sync/settings.h"

namespace sluice::daemon {

sync::LoopSettings loop_settings(const config::CommandLine& command, const OwnNode& node, const Serving& serving,
                                 Clock::WallTime process_start);

}  // namespace sluice::daemon
