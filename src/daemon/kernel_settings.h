// SPDX-License-Identifier: Apache-2.0
// What is set in the kernel outside of any proxy mode: connection tracking, our own OOM score, where our files are.
#pragma once

#include "config/config.h"
#include "sys/sysctl_journal.h"

namespace sluice::daemon {

// The owner of connection tracking's settings in the journal.
inline constexpr const char* kConntrackOwner = "conntrack";

// Writes the configured settings of connection tracking, each only if it differs; cleanup restores them. What
// cannot be written is logged and left: a proxy that serves with the kernel's own limits is better than none.
void apply_conntrack_settings(const config::ProxyConfig& config, const sys::SysctlJournal& journal);
void apply_oom_score(const config::ProxyConfig& config);
// Notes in the kernel where this namespace's files are, for a cleanup without --data-dir, and removes the folders of
// namespaces that are gone.
void record_state_folder(const config::SluiceConfig& sluice);

}  // namespace sluice::daemon
