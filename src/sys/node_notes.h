// SPDX-License-Identifier: Apache-2.0
// Short texts kept in the kernel, which exist exactly as long as the calling thread's network namespace, and are
// found again by a process that has lost its files: comments of rules in an nf_tables table, "ip sluice-node", whose
// chains have no hook and so see no packet. `nft list table ip sluice-node` shows them.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace sluice::sys {

inline constexpr const char* kNodeNotesTable = "sluice-node";
inline constexpr std::size_t kNoteBytesMax = 127;  // how much nft shows of a comment

// By kind, which is the chain's name: "settings", "folders".
using NodeNotes = std::map<std::string, std::vector<std::string>>;

// Where notes are kept; the default is the kernel.
struct NotesAccess {
  // Empty if there are none; kUnsupported if the kernel has no nf_tables.
  std::function<Result<NodeNotes>()> read;
  // Replaces all notes in one transaction; no notes remove the table. kInvalid for a text that is too long.
  std::function<Result<>(const NodeNotes& notes)> write;
};
NotesAccess kernel_notes();

// Reads all, and writes them again with `texts` for one kind, if that changes anything. No texts: none of that kind.
Result<> replace_notes(const NotesAccess& access, const std::string& kind, const std::vector<std::string>& texts);

}  // namespace sluice::sys
