// SPDX-License-Identifier: Apache-2.0
// The running daemon: all parts of `sluice proxy`, wired together.
#pragma once

#include "config/flags.h"

namespace sluice::daemon {

// Serves until SIGTERM or SIGINT (0), or until it cannot continue (1). The rules stay.
int serve(const config::CommandLine& command);

}  // namespace sluice::daemon
