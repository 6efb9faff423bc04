// SPDX-License-Identifier: Apache-2.0
// ipvsadm as a command of this program.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice::ipvs::engines {

// `program` is how messages name it; called under the names ipvsadm-save and ipvsadm-restore it is these. The engine is
// that of a leading
// --engine, else of SLUICE_IPVS_ENGINE in the environment, else auto. The answer is the exit status.
int run_ipvsadm(const std::string& program, const std::vector<std::string>& arguments);
// Is this one of the names that run_ipvsadm() answers to? A path before the name is fine.
bool is_ipvsadm_name(std::string_view program);

}  // namespace sluice::ipvs::engines
