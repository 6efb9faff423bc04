// SPDX-License-Identifier: Apache-2.0
// Translates IPVS's errno into an Error: the one place for all engines. What an errno means depends on what was
// requested: ENOENT may be a missing real server or an unknown scheduler (engine.h).
#pragma once

#include "base/result.h"
#include "ipvs/change.h"
#include "ipvs/sync_daemon.h"

namespace sluice::ipvs {

Error refused(const Change& change, int error);
Error refused_key(const char* doing, const VirtualServerKey& key, int error);  // "zero", "find"
Error refused_start(const SyncDaemon& daemon, int error);
Error refused_stop(SyncRole role, int error);
// "ipvs: flush: ..."; if no errno has a special meaning.
Error refused_call(const char* doing, int error);

}  // namespace sluice::ipvs
