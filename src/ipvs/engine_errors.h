// SPDX-License-Identifier: Apache-2.0
// errno as IPVS means it, made into an Error: the one place for all engines. What an errno means depends on what was
// wanted: ENOENT is a missing real server here and an unknown scheduler there (engine.h).
#pragma once

#include "base/result.h"
#include "ipvs/change.h"
#include "ipvs/sync_daemon.h"

namespace sluice::ipvs {

Error refused(const Change& change, int error);
Error refused_key(const char* doing, const VirtualServerKey& key, int error);  // "zero", "find"
Error refused_start(const SyncDaemon& daemon, int error);
Error refused_stop(SyncRole role, int error);
// "ipvs: flush: ..."; where no errno has a meaning of its own.
Error refused_call(const char* doing, int error);

}  // namespace sluice::ipvs
