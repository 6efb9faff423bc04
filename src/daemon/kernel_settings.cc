// SPDX-License-Identifier: Apache-2.0
// kube-proxy exits when a conntrack setting cannot be written, which keeps it from starting in a namespace that does
// not own the setting (kind, the lab) unless maxPerCore is 0. We log and serve.
#include "daemon/kernel_settings.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "config/conntrack.h"
#include "sys/state_folder.h"
#include "sys/sysctl.h"

namespace sluice::daemon {
namespace {

constexpr const char* kHashSizeFile = "/sys/module/nf_conntrack/parameters/hashsize";

// A setting that belongs to the host of this network namespace is read-only here: its value is up to the host.
void ensure(const sys::SysctlJournal& journal, const std::vector<sys::SysctlSetting>& wanted) {
  std::vector<sys::SysctlSetting> ours;
  for (const sys::SysctlSetting& setting : wanted) {
    if (!sys::sysctl_is_read_only(setting.name)) {
      ours.push_back(setting);
      continue;
    }
    const auto live = sys::read_sysctl(setting.name);
    if (live && *live == setting.value) continue;
    SLUICE_LOG_INFO("A kernel setting belongs to the host of this network namespace, keeping the host's value",
                    {"entry", setting.name}, {"value", live ? *live : ""});
  }
  const sys::SysctlReport report = journal.apply(kConntrackOwner, ours);
  for (const sys::SysctlSetting& setting : report.changed)
    SLUICE_LOG_INFO("Set sysctl", {"entry", setting.name}, {"value", setting.value});
  for (const Error& problem : report.problems)
    SLUICE_LOG_ERROR("Could not write a kernel setting, keeping the kernel's value", {"err", problem.what});
}

// The table behind the limit. It belongs to the whole machine, so it is raised, never lowered.
bool is_below(const char* path, std::int64_t wanted) {
  std::ifstream file(path);
  std::int64_t current = 0;
  return file >> current && current < wanted;
}

}  // namespace

void apply_conntrack_settings(const config::ProxyConfig& config, const sys::SysctlJournal& journal) {
  const config::ConntrackPlan plan = conntrack_plan(config.conntrack, std::thread::hardware_concurrency());
  std::vector<sys::SysctlSetting> wanted;
  for (const config::SysctlSetting& setting : plan.settings)
    wanted.push_back({std::string(setting.name), std::to_string(setting.value)});
  ensure(journal, wanted);
  // A network namespace that may not set the limit (the kernel shows it read-only there) must not touch the machine's
  // table either.
  const std::ofstream limit("/proc/sys/net/netfilter/nf_conntrack_max", std::ios::app);
  if (plan.hash_size_min && limit && is_below(kHashSizeFile, *plan.hash_size_min))
    ensure(journal, {{kHashSizeFile, std::to_string(*plan.hash_size_min)}});
}

void record_state_folder(const config::SluiceConfig& sluice) {
  (void)sys::sweep_dead_state_folders(sluice.data_dir);
  const auto noted = sys::note_state_folder(sys::state_folder(sluice.data_dir));
  if (!noted && noted.error().code != Errc::kUnsupported)
    SLUICE_LOG_WARNING("Cannot note the data folder in the kernel, a cleanup needs --data-dir",
                       {"err", noted.error().what});
}

void apply_oom_score(const config::ProxyConfig& config) {
  if (!config.oom_score_adj) return;
  errno = 0;
  std::ofstream out("/proc/self/oom_score_adj");
  out << *config.oom_score_adj << std::flush;
  if (out) return;
  const int error = errno;
  // Only a process with CAP_SYS_RESOURCE may set a lower score than it was given; one without it serves too.
  if (error == EACCES || error == EPERM) {
    SLUICE_LOG_INFO("This process may not lower its OOM score, keeping the one inherited",
                    {"oomScoreAdj", *config.oom_score_adj});
  } else {
    SLUICE_LOG_WARNING("Failed to apply the OOM score, keeping the one inherited",
                       {"oomScoreAdj", *config.oom_score_adj}, {"err", std::strerror(error)});
  }
}

}  // namespace sluice::daemon
