// SPDX-License-Identifier: Apache-2.0
// For tests: maps in place of the node's settings and of notes in the kernel.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "sys/node_notes.h"
#include "sys/sysctl_journal.h"

namespace sluice::sys {

struct FakeSysctls {
  std::map<std::string, std::string> values;
  NodeNotes notes;
  bool read_only = false;

  SysctlAccess access() {
    return {.read = [this](std::string_view name) -> Result<std::string> {
              const auto found = values.find(std::string(name));
              if (found == values.end()) return fail(Errc::kNotFound, "read " + std::string(name));
              return found->second;
            },
            .write = [this](std::string_view name, std::string_view value) -> Result<> {
              if (read_only) return fail(Errc::kPermission, "write " + std::string(name));
              values[std::string(name)] = value;
              return {};
            }};
  }
  NotesAccess notes_access() {
    return {.read = [this]() -> Result<NodeNotes> { return notes; },
            .write = [this](const NodeNotes& wanted) -> Result<> {
              notes = wanted;
              return {};
            }};
  }
  // Without a file.
  SysctlJournal journal() { return SysctlJournal("", access(), notes_access()); }
};

}  // namespace sluice::sys
