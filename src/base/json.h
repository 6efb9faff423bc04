// SPDX-License-Identifier: Apache-2.0
// JSON text by hand, for answers that are made of a few known fields.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// As a JSON string, with its quotes (RFC 8259, section 7). Bytes from 0x80 on are taken as UTF-8 and left alone.
std::string json_string(std::string_view text);

}  // namespace sluice
