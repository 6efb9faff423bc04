// SPDX-License-Identifier: Apache-2.0
// Which engine: the one place that knows all of them.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "ipvs/engine.h"

namespace sluice::ipvs::engines {

// "kernel", "ebpf", or "auto": the kernel's where it is there. kInvalid without sys_errno for another word,
// kUnsupported without sys_errno for an engine that was not built into this program; otherwise what opening that engine
// answers.
Result<std::unique_ptr<Engine>> open_engine(std::string_view choice);

}  // namespace sluice::ipvs::engines
