// SPDX-License-Identifier: Apache-2.0
// The old values of the kernel settings that we change, so that each is restored when the last reason to change
// it is gone: one journal for everything on the node. A change is recorded before it is made.
//
// There are two copies, and either is enough: a file in the state folder, which survives an administrator who flushes
// nf_tables, and notes in the kernel, which survive a lost folder (docs/adr/0012-node-settings.md).
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/node_notes.h"

namespace sluice::sys {

struct SysctlSetting {
  std::string name;  // with slashes: "net/ipv4/vs/conntrack"; or the full path of another file with one value
  std::string value;
  friend bool operator==(const SysctlSetting&, const SysctlSetting&) = default;
};

// How settings are read and written; the default is the calling thread's network namespace.
struct SysctlAccess {
  std::function<Result<std::string>(std::string_view name)> read;
  std::function<Result<>(std::string_view name, std::string_view value)> write;
};
SysctlAccess system_sysctls();

struct SysctlReport {
  std::vector<SysctlSetting> changed;
  std::vector<Error> problems;  // each names the setting, which stays unchanged
};

class SysctlJournal {
 public:
  struct Entry {
    std::string before;
    std::string ours;
    std::set<std::string> owners{};  // whose reasons: "ipvs"
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  using Entries = std::map<std::string, Entry>;  // by the setting's name

  // An empty folder: no file is kept.
  explicit SysctlJournal(std::string folder, SysctlAccess sysctls = system_sysctls(),
                         NotesAccess notes = kernel_notes());

  // Writes if the value differs. For a setting that was changed before, the oldest value is kept.
  [[nodiscard]] SysctlReport apply(const std::string& owner, const std::vector<SysctlSetting>& wanted) const;
  // The setting already has the owner's value: restore() will leave it.
  [[nodiscard]] Result<> note_found(const std::string& owner, const SysctlSetting& found) const;
  // Restores what no other owner needs, unless another process has changed the value since, and drops its record.
  // What could not be written stays recorded.
  [[nodiscard]] SysctlReport restore(const std::string& owner) const;

  [[nodiscard]] Entries entries() const;
  // The settings of an owner, whatever their value is now, and those of them whose value restore() would change.
  [[nodiscard]] std::vector<std::string> recorded_by(const std::string& owner) const;
  [[nodiscard]] std::vector<SysctlSetting> changed_by(const std::string& owner) const;

 private:
  [[nodiscard]] Result<> write(const Entries& entries) const;
  [[nodiscard]] Result<> write_file(const std::string& text) const;
  [[nodiscard]] std::string path() const { return folder_ + "/sysctls"; }

  std::string folder_;
  SysctlAccess sysctls_;
  NotesAccess notes_;
};

}  // namespace sluice::sys
