// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace sluice::daemon {

// The abstract UNIX socket on which the daemon of a network namespace listens (net/local_channel.h).
inline constexpr std::string_view kLocalSocket = "sluice";

}  // namespace sluice::daemon
