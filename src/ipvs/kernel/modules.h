// SPDX-License-Identifier: Apache-2.0
// The kernel modules that IPVS comes in. The kernel asks for schedulers itself, by its own modprobe; ours helps where
// the modules are in our file system alone (a container with /lib/modules mounted), and says what is missing.
#pragma once

#include <string>

#include "base/result.h"

namespace sluice::ipvs::kernel {

// kUnsupported with modprobe's words where there is no such module, or where it may not be loaded.
Result<> load_module(const std::string& name);

}  // namespace sluice::ipvs::kernel
