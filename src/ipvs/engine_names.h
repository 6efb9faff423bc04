// SPDX-License-Identifier: Apache-2.0
// The engines that are built into this program, by the names with which users choose them. Help and messages offer
// these and "auto", which is the first of them that this node can run; ipvs/engines opens them.
#pragma once

#include <array>
#include <string_view>

namespace sluice::ipvs {

inline constexpr std::array<std::string_view, 1> kEngineNames{"kernel"};

}  // namespace sluice::ipvs
