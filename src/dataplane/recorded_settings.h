// SPDX-License-Identifier: Apache-2.0
// A mode's settings of the node as leftovers that are removed: the same for every mechanism.
#pragma once

#include <string>
#include <vector>

#include "dataplane/mechanism.h"
#include "sys/sysctl_journal.h"

namespace sluice::dataplane {

// "our value of net/ipv4/vs/conntrack", if restoring would change it; "our record of ..." otherwise.
std::vector<Objects> recorded_settings(const sys::SysctlJournal& journal, const std::string& owner);
void restore_recorded_settings(const sys::SysctlJournal& journal, const std::string& owner, Removal& removal);

}  // namespace sluice::dataplane
