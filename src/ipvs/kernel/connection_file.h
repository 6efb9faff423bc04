// SPDX-License-Identifier: Apache-2.0
// /proc/net/ip_vs_conn: the connection table has no netlink command, so this file is read line by line.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "ipvs/connection.h"

namespace sluice::ipvs::kernel {

// One line. Nothing for the title line and for what cannot be parsed.
std::optional<Connection> parse_connection(std::string_view line);

// Every connection of the calling thread's network namespace. ENOENT if the file is missing.
Result<> read_connections(const std::function<void(const Connection&)>& visit,
                          const std::string& path = "/proc/thread-self/net/ip_vs_conn");

}  // namespace sluice::ipvs::kernel
