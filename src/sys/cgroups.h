// SPDX-License-Identifier: Apache-2.0
// Control groups by name, in every hierarchy that is mounted: those of cgroups v1, that of v2, or both kinds.
#pragma once

#include <string>

#include "base/result.h"

namespace sluice::sys {

Result<> add_cgroup(const std::string& name);  // "a/b" is b in a; succeeds if it exists
// With those in it. No process may be in them; one that has been killed may take its time to leave.
Result<> remove_cgroup(const std::string& name);      // succeeds if there is none
Result<bool> cgroup_exists(const std::string& name);  // in any hierarchy

}  // namespace sluice::sys
