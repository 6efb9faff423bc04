// SPDX-License-Identifier: Apache-2.0
// The kernel settings that mode ipvs needs.
#pragma once

#include <string>
#include <vector>

#include "ipvs/engine.h"
#include "sys/sysctl_journal.h"

namespace sluice::dataplane::ipvs {

// Their owner in the journal.
inline constexpr const char* kSysctlOwner = "ipvs";

struct KernelVersion {
  unsigned major = 0;
  unsigned minor = 0;
  friend auto operator<=>(const KernelVersion&, const KernelVersion&) = default;
};
// The running kernel's.
KernelVersion kernel_version();

std::vector<sys::SysctlSetting> wanted_sysctls(const sluice::ipvs::Description& engine, bool strict_arp,
                                               KernelVersion kernel);

}  // namespace sluice::dataplane::ipvs
