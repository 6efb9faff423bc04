// SPDX-License-Identifier: Apache-2.0
// Settings belong to the node, not to us, and other software reads them. kube-proxy restores none of them, which has
// left nodes with an unexplained strict ARP, and with 127.0.0.1 open to the neighbours (CVE-2020-8558).
#include "sys/sysctl_journal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "sys/state_folder.h"
#include "sys/sysctl.h"

namespace sluice::sys {
namespace {

constexpr const char* kKind = "settings";

// "net/ipv4/vs/conntrack 0 1 ipvs,iptables"
std::string line_of(const std::string& name, const SysctlJournal::Entry& entry) {
  std::string owners;
  for (const std::string& owner : entry.owners) owners += (owners.empty() ? "" : ",") + owner;
  return fmt::format("{} {} {} {}", name, entry.before, entry.ours, owners);
}

void read_line(const std::string& line, SysctlJournal::Entries& entries) {
  std::istringstream words(line);
  std::string name;
  std::string owners;
  SysctlJournal::Entry entry;
  if (!(words >> name >> entry.before >> entry.ours >> owners)) return;
  std::istringstream list(owners);
  for (std::string owner; std::getline(list, owner, ',');) entry.owners.insert(owner);
  entries.try_emplace(name, std::move(entry));
}

bool one_word(std::string_view text) {
  return !text.empty() && text.find_first_of(" \t\n") == std::string_view::npos;
}

}  // namespace

SysctlAccess system_sysctls() {
  return {.read = [](std::string_view name) { return read_sysctl(name); },
          .write = [](std::string_view name, std::string_view value) -> Result<> {
            SLUICE_TRY([[maybe_unused]] const bool written, ensure_sysctl(name, value));
            return {};
          }};
}

SysctlJournal::SysctlJournal(std::string folder, SysctlAccess sysctls, NotesAccess notes)
    : folder_(std::move(folder)), sysctls_(std::move(sysctls)), notes_(std::move(notes)) {}

SysctlJournal::Entries SysctlJournal::entries() const {
  Entries entries;
  if (const auto notes = notes_.read()) {
    const auto settings = notes->find(kKind);
    if (settings != notes->end()) {
      for (const std::string& text : settings->second) read_line(text, entries);
    }
  }
  if (folder_.empty()) return entries;
  std::ifstream file(path());
  for (std::string line; std::getline(file, line);) read_line(line, entries);
  return entries;
}

// One copy is enough; a kernel without nf_tables is no failure if there is a file.
Result<> SysctlJournal::write(const Entries& entries) const {
  std::string text;
  std::vector<std::string> lines;
  for (const auto& [name, entry] : entries) {
    lines.push_back(line_of(name, entry));
    text += lines.back() + "\n";
  }
  const auto noted = replace_notes(notes_, kKind, lines);
  if (folder_.empty()) return noted;
  auto filed = write_file(text);
  if (filed || (noted && !entries.empty())) return {};
  return filed;
}

Result<> SysctlJournal::write_file(const std::string& text) const {
  std::ifstream file(path());
  std::ostringstream now;
  now << file.rdbuf();
  if (file && now.str() == text) return {};
  if (!text.empty()) return write_state_file(path(), text);
  if (::unlink(path().c_str()) != 0 && errno != ENOENT && errno != ENOTDIR)
    return fail(Errc::kInternal, fmt::format("remove {}: {}", path(), std::strerror(errno)), errno);
  return {};
}

SysctlReport SysctlJournal::apply(const std::string& owner, const std::vector<SysctlSetting>& wanted) const {
  SysctlReport report;
  Entries record = entries();
  bool rewrite = false;
  for (const SysctlSetting& setting : wanted) {
    const auto before = sysctls_.read(setting.name);
    if (!before) {
      report.problems.push_back(before.error());
      continue;
    }
    const auto known = record.find(setting.name);
    if (*before == setting.value) {
      // By an earlier process of ours, or by another owner: this one needs it too.
      if (known != record.end() && known->second.ours == setting.value)
        rewrite = known->second.owners.insert(owner).second || rewrite;
      continue;
    }
    if (!one_word(*before) || !one_word(setting.value)) {
      report.problems.push_back(
          Error{Errc::kInvalid, fmt::format("sysctl: {}: \"{}\" cannot be recorded", setting.name, *before)});
      continue;
    }
    const auto [place, fresh] = record.try_emplace(setting.name, Entry{*before, setting.value});
    Entry& entry = place->second;
    entry.ours = setting.value;
    entry.owners.insert(owner);
    // Without a record it would never be restored; serving matters more.
    if (auto noted = write(record); !noted) report.problems.push_back(noted.error());
    if (auto written = sysctls_.write(setting.name, setting.value); !written) {
      report.problems.push_back(written.error());
      if (fresh) record.erase(place);
      rewrite = true;
      continue;
    }
    // The kernel rounds some values.
    const auto after = sysctls_.read(setting.name);
    if (after && *after != entry.ours && one_word(*after)) {
      entry.ours = *after;
      rewrite = true;
    }
    report.changed.push_back(setting);
  }
  // Also if only one copy was left.
  const bool has_any =
      std::any_of(record.begin(), record.end(), [&](const auto& each) { return each.second.owners.contains(owner); });
  if (!rewrite && !has_any) return report;
  if (auto noted = write(record); !noted) report.problems.push_back(noted.error());
  return report;
}

Result<> SysctlJournal::note_found(const std::string& owner, const SysctlSetting& found) const {
  Entries record = entries();
  if (!one_word(found.value)) return fail(Errc::kInvalid, fmt::format("sysctl: {} cannot be recorded", found.name));
  record.try_emplace(found.name, Entry{found.value, found.value}).first->second.owners.insert(owner);
  return write(record);
}

SysctlReport SysctlJournal::restore(const std::string& owner) const {
  SysctlReport report;
  Entries record = entries();
  if (record.empty()) return report;
  for (auto each = record.begin(); each != record.end();) {
    auto& [name, entry] = *each;
    if (entry.owners.erase(owner) == 0 || !entry.owners.empty()) {
      ++each;
      continue;
    }
    const auto now = sysctls_.read(name);
    if (now && *now == entry.ours && entry.before != entry.ours) {
      if (auto written = sysctls_.write(name, entry.before); !written) {
        report.problems.push_back(written.error());
        entry.owners.insert(owner);
        ++each;
        continue;
      }
      report.changed.push_back({name, entry.before});
    }
    each = record.erase(each);
  }
  if (auto noted = write(record); !noted) report.problems.push_back(noted.error());
  return report;
}

std::vector<std::string> SysctlJournal::recorded_by(const std::string& owner) const {
  std::vector<std::string> names;
  for (const auto& [name, entry] : entries()) {
    if (entry.owners.contains(owner)) names.push_back(name);
  }
  return names;
}

std::vector<SysctlSetting> SysctlJournal::changed_by(const std::string& owner) const {
  std::vector<SysctlSetting> changed;
  for (const auto& [name, entry] : entries()) {
    if (!entry.owners.contains(owner) || entry.owners.size() > 1 || entry.before == entry.ours) continue;
    const auto now = sysctls_.read(name);
    if (now && *now == entry.ours) changed.push_back({name, entry.ours});
  }
  return changed;
}

}  // namespace sluice::sys
