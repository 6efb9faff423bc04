// SPDX-License-Identifier: Apache-2.0
// Whether this process can use BPF at all.
#pragma once

#include "base/result.h"

namespace sluice::sys {

// Loads a program that does nothing, and lets it go. kPermission: the process lacks CAP_BPF or CAP_NET_ADMIN (or
// CAP_SYS_ADMIN), or the machine forbids BPF (a lockdown, a seccomp filter). kUnsupported: the kernel has no BPF.
Result<> can_load_bpf();

// Whether this thread has CAP_SYS_ADMIN, without which nothing can be mounted.
bool may_administer_system();

}  // namespace sluice::sys
