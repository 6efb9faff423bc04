// SPDX-License-Identifier: Apache-2.0
// Programs that outlive us: started in a network namespace with their output in a file, found again later, and
// ended.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/netns.h"

namespace sluice::sys {

// A process id together with the moment its process started (in clock ticks since boot, /proc/<pid>/stat): once the id
// is given to another process, the pair matches none.
struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
  friend auto operator<=>(const ProcessId&, const ProcessId&) = default;
};

struct DetachedSpec {
  std::vector<std::string> arguments;    // arguments[0] is the program, looked up in PATH
  std::string netns;                     // by name; empty = the calling thread's
  std::string log_file;                  // stdout and stderr are appended to it
  std::vector<std::string> environment;  // "NAME=value"; others as in this process
};
// The program gets a session of its own, the folder / and no descriptors but stdio.
Result<ProcessId> start_detached(const DetachedSpec& spec);

// The process that has this id now. Errc::kNotFound if there is none, or only a zombie.
Result<ProcessId> identify_process(pid_t pid);
bool process_alive(const ProcessId& process);
Result<> signal_process(const ProcessId& process, int signal);  // succeeds if it has ended
// SIGTERM, after `grace` SIGKILL, and waits until it has ended; a child of ours is reaped. Succeeds if it has ended
// already.
Result<> end_process(const ProcessId& process, std::chrono::milliseconds grace);
std::string command_line(const ProcessId& process);  // words separated by spaces; empty if it has ended

// Every process, except this one and its ancestors, that is in one of the namespaces or was started with this exact
// entry ("NAME=value") in its environment.
struct ProcessMark {
  std::vector<NetnsId> namespaces;
  std::string environment_entry;
};
Result<std::vector<ProcessId>> find_processes(const ProcessMark& mark);

// The path of this program.
Result<std::string> own_program();
// Replaces this process by another program; returns only with the Error.
Result<> become_program(const std::vector<std::string>& arguments);

}  // namespace sluice::sys
