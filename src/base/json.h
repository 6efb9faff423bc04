// SPDX-License-Identifier: Apache-2.0
// JSON text by hand, for answers that are made of a few known fields.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// As a JSON string, with its quotes (RFC 8259, section 7), whatever the text holds: a byte that is no UTF-8 becomes
// U+FFFD, as Go's encoding/json has it, and what a terminal would take for a command is escaped.
std::string json_string(std::string_view text);

}  // namespace sluice
