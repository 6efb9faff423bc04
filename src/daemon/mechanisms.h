// SPDX-License-Identifier: Apache-2.0
// Every proxy mode of this program is made here, and only here.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "dataplane/mechanism.h"
#include "sys/sysctl_journal.h"

namespace sluice::daemon {

using Mechanisms = std::vector<std::unique_ptr<dataplane::Mechanism>>;
// In the order in which they clean up. Settings that a data plane changes are logged.
Mechanisms make_mechanisms(const config::ProxyConfig& config, const config::SluiceConfig& sluice);
// Those of a clean-up, which is to leave nothing: they remove what another process might still use, too.
Mechanisms make_mechanisms_for_cleanup(const config::SluiceConfig& sluice);
std::vector<dataplane::Mechanism*> pointers_to(const Mechanisms& mechanisms);
// By the name of its mode. kUnsupported where this program has none of that name.
Result<dataplane::Mechanism*> mechanism_named(const Mechanisms& mechanisms, std::string_view name);

// The journal of all node settings that we change, in this network namespace.
sys::SysctlJournal open_journal(const config::SluiceConfig& sluice);

}  // namespace sluice::daemon
