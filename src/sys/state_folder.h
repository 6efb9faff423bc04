// SPDX-License-Identifier: Apache-2.0
// Where a network namespace's own files are: a folder below the data folder, with a name that no other namespace of
// this boot or of another one has. An inode number alone would be reused for a later namespace.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::sys {

// Of the calling thread's network namespace: "netns-4026531840-3f2a9c1e-1", from the inode, the boot, and the cookie by
// which the kernel numbers namespaces (SO_NETNS_COOKIE, Linux 5.14; 0 before).
std::string netns_state_name();
std::string state_folder(const std::string& data_folder);

// Recorded in the kernel, for a cleanup of this namespace that does not get the data folder.
Result<> note_state_folder(const std::string& folder);
std::set<std::string> noted_state_folders();
Result<> forget_state_folders();

// Below `data_folder`: folders of namespaces that are gone. Those of an earlier boot, and of one whose inode the
// calling thread's namespace has now, are certain; others only if all processes of the machine can be seen (in the
// first pid namespace). Removes them and returns their names.
std::vector<std::string> sweep_dead_state_folders(const std::string& data_folder);

// Replaces the file atomically, so that a crash leaves the old or the new one. Creates its folder.
Result<> write_state_file(const std::string& path, const std::string& text);

}  // namespace sluice::sys
