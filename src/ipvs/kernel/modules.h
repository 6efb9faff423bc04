// SPDX-License-Identifier: Apache-2.0
// IPVS's kernel modules. The kernel loads schedulers itself, with its own modprobe; ours helps if
// the modules are only in our file system (a container with /lib/modules mounted), and reports what is missing.
#pragma once

#include <string>

#include "base/result.h"

namespace sluice::ipvs::kernel {

// kUnsupported with modprobe's message if there is no such module, or if it may not be loaded.
Result<> load_module(const std::string& name);

}  // namespace sluice::ipvs::kernel
