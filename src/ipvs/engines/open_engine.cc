// SPDX-License-Identifier: Apache-2.0
// An engine is one line here.
#include "ipvs/engines/open_engine.h"

#include <fmt/format.h>

#include "ipvs/kernel/kernel_engine.h"

namespace sluice::ipvs::engines {

Result<std::unique_ptr<Engine>> open_engine(std::string_view choice) {
  if (choice == "kernel" || choice == "auto") return kernel::KernelEngine::open();
  if (choice == "ebpf") return fail(Errc::kUnsupported, "the IPVS engine 'ebpf' is not built into this program");
  return fail(Errc::kInvalid, fmt::format("there is no IPVS engine '{}': kernel, ebpf or auto", choice));
}

}  // namespace sluice::ipvs::engines
