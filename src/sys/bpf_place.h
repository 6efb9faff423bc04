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
// its own, such as that of `ip netns exec`, which has another /sys. Where several are mounted: the one in which something is pinned for the calling
// thread's network namespace, otherwise the first. Empty where none is mounted.
std::optional<std::string> find_bpf_file_system();

// Whether make_netns_pins() could have one, as far as can be known without a change: for who wants to know before there is anything to pin.
// kPermission, kUnsupported (the kernel has none): with what to do.
Result<> can_have_bpf_file_system();

// The number of the calling thread's network namespace. It is never used twice while the machine runs. kUnsupported before Linux 5.14.
Result<std::uint64_t> netns_cookie();

// Whether something is pinned for the calling thread's network namespace, in any of these file systems, of any layout.
Result<bool> has_netns_pins();
// The folder for such pins, of this layout, in that file system. Where there is none, mounts one at /run/sluice/bpf in the first process' mount
// namespace, so that what is pinned in it outlives this process and whatever mount namespace that is in; in the caller's where the first process is out
// of reach. Fails as can_have_bpf_file_system() does.
Result<std::string> make_netns_pins(const std::string& layout);
// Removes all of them, and unmounts the file system at /run/sluice/bpf when the last is gone from there. What no hook and no process
// uses is then gone from the kernel.
Result<> remove_netns_pins();
// The same for folders in which nothing is pinned: what make_netns_pins() made for programs that were refused.
Result<> remove_empty_netns_pins();

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
