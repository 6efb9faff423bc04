// SPDX-License-Identifier: Apache-2.0
// The files of a lab, in /run/sluice-lab/<id>:
//   lock                 held while it is made or taken down
//   topology             what it consists of (topology.h)
//   owner                the process that made it; kept: it outlives that process
//   agent.process        the agent, if that is a process; agent.ready once it serves
//   <node>.<name>.process, .log    programs on nodes
// A process is written as "<pid> <start time>".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/detached.h"

namespace sluice::lab {

inline constexpr const char* kStateFolder = "/run/sluice-lab";

bool good_id(std::string_view id);
std::string state_folder(const std::string& id);
Result<> make_state_folder(const std::string& id);      // Errc::kAlreadyExists
Result<> remove_state_folder(const std::string& id);    // with its contents
Result<std::vector<std::string>> list_state_folders();  // ids

Result<std::string> read_text(const std::string& path);
// Through a temporary file and a rename: readers see the old text or the new one.
Result<> write_text(const std::string& path, std::string_view text);
bool file_exists(const std::string& path);

Result<> write_process(const std::string& path, const sys::ProcessId& process);
std::optional<sys::ProcessId> read_process(const std::string& path);

}  // namespace sluice::lab
