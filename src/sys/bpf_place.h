// SPDX-License-Identifier: Apache-2.0
// Where BPF maps and programs of one network namespace are kept, and which devices it has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::sys {

// A folder of a BPF file system: /sys/fs/bpf; or /run/sluice/bpf; or one of them as the first process sees it, for a process in a mount namespace of
// its own, such as that of `ip netns exec`, which has another /sys. Empty where none is mounted.
std::optional<std::string> find_bpf_file_system();

// The same; where there is none, mounts one at /run/sluice/bpf in the first process' mount namespace, so that what is pinned in it outlives this
// process and whatever mount namespace that is in; in the caller's where the first process is out of reach. kPermission, kUnsupported (the kernel has none): with what to do.
Result<std::string> make_bpf_file_system();

// The number of the calling thread's network namespace. It is never used twice while the machine runs.
Result<std::uint64_t> netns_cookie();

// Removes what is pinned for the calling thread's network namespace, of every layout: for who is about to remove that namespace. What no hook and
// no process uses is then gone from the kernel.
Result<> remove_netns_pins();

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
