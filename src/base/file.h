// SPDX-License-Identifier: Apache-2.0
// Reads small files whole: configurations, credentials. Memory use follows the file's size, not the limit.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice {

// Errors name the path: kPermission or kNotFound if it cannot be opened, kUnavailable if it cannot be read (a folder, a
// failing disk), kExhausted if it is longer than `bytes_max`.
Result<std::string> read_file(const std::string& path, std::size_t bytes_max);

// The part of a path behind its last slash: "ipvsadm" of "/usr/sbin/ipvsadm".
std::string_view base_name(std::string_view path);

}  // namespace sluice
