// SPDX-License-Identifier: Apache-2.0
// Kernel settings under /proc/sys, of the calling thread's network namespace.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::sys {

// `name` with slashes: "net/ipv4/ip_forward". A full path names a file outside of /proc/sys that is read and written in
// the same way, such as a module's parameter. The value without its newline.
Result<std::string> read_sysctl(std::string_view name);
// The kernel lets no process write it here, not even as root: in a network namespace such a setting is the host's. One
// on a read-only mount does not count.
bool sysctl_is_read_only(std::string_view name);
// Writes only if the value differs; returns whether it wrote.
Result<bool> ensure_sysctl(std::string_view name, std::string_view value);

}  // namespace sluice::sys
