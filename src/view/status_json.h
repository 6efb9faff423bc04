// SPDX-License-Identifier: Apache-2.0
// The one JSON form of a Status: one object, one line. Every list is complete. Reference: sluice(8).
#pragma once

#include <string>

#include "view/status.h"

namespace sluice::view {

std::string status_json(const Status& status, Clock::WallTime now);

}  // namespace sluice::view
