// SPDX-License-Identifier: Apache-2.0
// Where BPF maps and programs of one network namespace are kept, and which devices it has.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::sys {

// A folder of a BPF file system: /sys/fs/bpf; or /run/sluice/bpf; or, for a process in a mount namespace of its own, such
// as that of `ip netns exec`, which has another /sys, the /sys/fs/bpf of the first process. kUnsupported with what to do where there is none.
Result<std::string> bpf_file_system();

// The number of the calling thread's network namespace. It is never used twice while the machine runs.
Result<std::uint64_t> netns_cookie();

struct Device {
  int index = 0;
  std::string name;
  bool ethernet = true;  // packets begin with an Ethernet header; otherwise with the IP header
};
// Of the calling thread's network namespace.
Result<std::vector<Device>> list_devices();
// kNotFound
Result<std::uint32_t> device_mtu(const std::string& name);

}  // namespace sluice::sys
