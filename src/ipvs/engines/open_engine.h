// SPDX-License-Identifier: Apache-2.0
// Chooses the engine: the one place that knows all of them.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "ipvs/engine.h"
#include "ipvs/engine_choice.h"

namespace sluice::ipvs::engines {

// kAuto: the kernel's where it has a virtual server in this network namespace, otherwise ours where it has anything there; where neither is so, the
// kernel's if the module ip_vs is loaded or can be, otherwise ours. Where none can be opened, the Error has the reasons of both. kUnsupported for an engine that
// is not built into this program; otherwise what opening that engine returns.
Result<std::unique_ptr<Engine>> open_engine(EngineChoice choice);

// Of the engines that are built into this program, those that may have objects in this network namespace, as
// open_engine() takes them. Creates nothing: a kernel module that is not loaded stays so.
std::vector<EngineChoice> engines_in_use();

}  // namespace sluice::ipvs::engines
