// SPDX-License-Identifier: Apache-2.0
// The one JSON form of a Status: one object, one line. Every list is complete. Reference: sluice(8).
#pragma once

#include <string>

#include "view/status.h"

namespace sluice::view {

std::string status_json(const Status& status, Clock::WallTime now);
// What is live of one family against what is wanted: its part of the above. "null" where it was not compared.
std::string live_json(const FamilyView& family);

}  // namespace sluice::view
