// SPDX-License-Identifier: Apache-2.0
// Which engine: what users may choose, and the words that they use (SluiceConfiguration's `ipvs.engine`, --engine of
// ipvsadm, SLUICE_IPVS_ENGINE). ipvs/engines opens what was chosen.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace sluice::ipvs {

enum class EngineChoice : std::uint8_t {
  kAuto,    // the first engine that is in use; where none is, the first that this node can run
  kKernel,  // ip_vs
  kEbpf     // ours
};
// Every word, whether or not this program has such an engine.
inline constexpr std::array<std::pair<std::string_view, EngineChoice>, 3> kEngineWords{
    {{"auto", EngineChoice::kAuto}, {"kernel", EngineChoice::kKernel}, {"ebpf", EngineChoice::kEbpf}}};

// The engines that are built into this program, in the order in which kAuto tries them. Help and messages offer these.
inline constexpr std::array kBuiltInEngines{EngineChoice::kKernel, EngineChoice::kEbpf};

std::string_view to_string(EngineChoice choice);
// kInvalid: there is no such word.
Result<EngineChoice> parse_engine_choice(std::string_view word);
// kUnsupported: an engine that this program does not have.
Result<> check_built_in(EngineChoice choice);
// "kernel", with `separator` between two of them.
std::string built_in_engines(std::string_view separator);

}  // namespace sluice::ipvs
