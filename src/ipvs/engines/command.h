// SPDX-License-Identifier: Apache-2.0
// ipvsadm as a command of this program.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::ipvs::engines {

// `program` is its name in messages; the names ipvsadm-save and ipvsadm-restore select those programs. The engine is
// that of a leading
// --engine, else of SLUICE_IPVS_ENGINE in the environment, else auto. Returns the exit status.
int run_ipvsadm(const std::string& program, const std::vector<std::string>& arguments);
// Whether this is one of the names that run_ipvsadm() accepts. It may have a path in front.
bool is_ipvsadm_name(std::string_view program);

}  // namespace sluice::ipvs::engines
