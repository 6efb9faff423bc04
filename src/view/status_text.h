// SPDX-License-Identifier: Apache-2.0
// A Status as text for users.
#pragma once

#include <string>

#include "view/status.h"

namespace sluice::view {

// Long lists are cut, and what was cut is counted; kWide shows them whole, one item per line.
enum class Width : unsigned char { kNarrow, kWide };

std::string status_text(const Status& status, Width width, Clock::WallTime now);
// "live differs from wanted: 2 missing, 1 unexpected"
std::string comparison_words(const FamilyView& family);

}  // namespace sluice::view
