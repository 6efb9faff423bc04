// SPDX-License-Identifier: Apache-2.0
// Where a network namespace's own files are: a folder below the data folder, named after what no other namespace of
// this boot or of another one has. An inode's number alone would be used again for a namespace made later.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::sys {

inline constexpr const char* kDefaultDataFolder = "/run/sluice";

// Of the calling thread's network namespace: "netns-4026531840-3f2a9c1e-1", of the inode, the boot, and the cookie that
// the kernel numbers namespaces by (SO_NETNS_COOKIE, Linux 5.14; 0 before).
std::string netns_state_name();
std::string state_folder(const std::string& data_folder);

// On record in the kernel, for whoever takes this namespace down and is not told of the data folder.
Result<> note_state_folder(const std::string& folder);
std::set<std::string> noted_state_folders();
Result<> forget_state_folders();

// Below `data_folder`: folders of namespaces that are gone. Those of an earlier boot, and of one whose inode the
// calling thread's namespace has now, are for sure; others only where all processes of the machine can be seen (in the
// first pid namespace). Removes them and returns their names.
std::vector<std::string> sweep_dead_state_folders(const std::string& data_folder);

// Replaces the file as a whole, so that a crash leaves the old or the new one. Makes its folder.
Result<> write_state_file(const std::string& path, const std::string& text);

}  // namespace sluice::sys
