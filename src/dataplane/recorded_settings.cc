// SPDX-License-Identifier: Apache-2.0
#include "dataplane/recorded_settings.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::dataplane {

std::vector<Objects> recorded_settings(const sys::SysctlJournal& journal, const std::string& owner) {
  std::vector<Objects> objects;
  const std::vector<sys::SysctlSetting> changed = journal.changed_by(owner);
  for (const std::string& name : journal.recorded_by(owner)) {
    const bool is_changed = std::any_of(changed.begin(), changed.end(),
                                        [&](const sys::SysctlSetting& setting) { return setting.name == name; });
    objects.push_back({fmt::format("our {} of {}", is_changed ? "value" : "record", name), "", 1});
  }
  return objects;
}

void restore_recorded_settings(const sys::SysctlJournal& journal, const std::string& owner, Removal& removal) {
  const sys::SysctlReport report = journal.restore(owner);
  for (const sys::SysctlSetting& setting : report.changed)
    add(removal.removed, {fmt::format("our value of {} (it is {} again)", setting.name, setting.value), "", 1});
  for (const Error& problem : report.problems) removal.problems.push_back(problem.what);
}

}  // namespace sluice::dataplane
