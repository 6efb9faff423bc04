// SPDX-License-Identifier: Apache-2.0
// The kernel settings that mode ipvs needs, and how they get their old values back when the mode is given up.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::dataplane::ipvs {

struct SysctlSetting {
  std::string name;  // with slashes: "net/ipv4/vs/conntrack"
  std::string value;
  friend bool operator==(const SysctlSetting&, const SysctlSetting&) = default;
};

struct KernelVersion {
  unsigned major = 0;
  unsigned minor = 0;
  friend auto operator<=>(const KernelVersion&, const KernelVersion&) = default;
};
// The running kernel's.
KernelVersion kernel_version();

std::vector<SysctlSetting> wanted_sysctls(bool strict_arp, KernelVersion kernel);

// How settings are read and written; the default is the calling thread's network namespace.
struct SysctlAccess {
  std::function<Result<std::string>(std::string_view name)> read;
  std::function<Result<>(std::string_view name, std::string_view value)> write;
};
SysctlAccess system_sysctls();

struct SysctlReport {
  std::vector<SysctlSetting> changed;
  std::vector<Error> problems;  // each names the setting, which is left as it is
};

// Writes where the value differs. What was there before is kept in FOLDER/ipvs-sysctls, and written there first; of a
// setting that was changed before, the oldest value is kept.
SysctlReport apply_sysctls(const std::vector<SysctlSetting>& wanted, const std::string& folder,
                           const SysctlAccess& access = system_sysctls());
// Puts back what is kept, except where somebody else has changed the value since, and removes the file.
SysctlReport restore_sysctls(const std::string& folder, const SysctlAccess& access = system_sysctls());

}  // namespace sluice::dataplane::ipvs
