// SPDX-License-Identifier: Apache-2.0
// Chooses the engine: the one place that knows all of them.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "ipvs/engine.h"

namespace sluice::ipvs::engines {

// "kernel", "ebpf", or "auto": the kernel's if available. kInvalid without sys_errno for any other word,
// kUnsupported without sys_errno for an engine that was not built into this program; otherwise what opening that engine
// returns.
Result<std::unique_ptr<Engine>> open_engine(std::string_view choice);

// Of the engines that are built into this program, those that may have objects in this network namespace, by the names
// that open_engine() takes. Creates nothing: a kernel module that is not loaded stays so.
std::vector<std::string_view> engines_in_use();

}  // namespace sluice::ipvs::engines
