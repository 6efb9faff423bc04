// SPDX-License-Identifier: Apache-2.0
// Our programs on the devices of the calling thread's network namespace. Others' programs on the same hooks are left
// alone: ours have a handle and a priority of their own, and let a packet go on to the next one.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "ipvs/ebpf/tables.h"
#include "sys/bpf_place.h"

namespace sluice::ipvs::ebpf {

// What sets our filters apart: "tc filter show" prints both.
inline constexpr std::uint32_t kFilterHandle = 0x51;
inline constexpr std::uint32_t kFilterPriority = 100;

struct Refusal {
  std::string device;
  std::string why;
};
// Puts them where they are not yet, in this version. Leaves out the devices in `done`; then those that have both are in it, and no others, and in
// `refused` is why the others have not. A device that refuses does not keep the others from theirs. Fails with the first reason where no device
// takes them.
Result<> attach(const Programs& programs, std::set<int>& done, std::map<int, Refusal>& refused);
struct Coverage {
  std::size_t devices = 0;  // that have both of theirs
  std::vector<sys::Device> without{};
};
Result<Coverage> coverage(const Programs& programs);
// The name of a device that has one of them, of whatever version and whatever tables; empty: there is none.
Result<std::string> device_with_programs();
// Takes them off every device.
Result<> detach();

}  // namespace sluice::ipvs::ebpf
