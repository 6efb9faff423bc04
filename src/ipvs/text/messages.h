// SPDX-License-Identifier: Apache-2.0
// What ipvsadm prints when the engine refuses.
#pragma once

#include <string>

#include "base/result.h"
#include "ipvs/text/options.h"

namespace sluice::ipvs::text {

// The one line for stderr, without its newline.
std::string engine_message(Command command, const Error& error);
// The same if the engine could not be opened: no command is known yet.
std::string opening_message(const Error& error);
// Help: our own text, from the table of options.
std::string help_text(const std::string& program);
std::string version_text();

}  // namespace sluice::ipvs::text
