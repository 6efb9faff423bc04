// SPDX-License-Identifier: Apache-2.0
// JSON text by hand, for responses that consist of a few known fields.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// As a JSON string, with its quotes (RFC 8259, section 7), whatever the text contains: a byte that is not UTF-8 becomes
// U+FFFD, as in Go's encoding/json, and control characters of terminals are escaped.
std::string json_string(std::string_view text);

}  // namespace sluice
