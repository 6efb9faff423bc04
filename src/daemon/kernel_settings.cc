// SPDX-License-Identifier: Apache-2.0
// kube-proxy ends when a conntrack setting cannot be written, which keeps it from starting in a namespace that does not
// own the setting (kind, the lab) until somebody sets maxPerCore to 0. We log and serve.
#include "daemon/kernel_settings.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "base/log.h"
#include "config/conntrack.h"
#include "sys/sysctl.h"

namespace sluice::daemon {
namespace {

constexpr const char* kHashSizeFile = "/sys/module/nf_conntrack/parameters/hashsize";

void ensure(std::string_view name, const std::string& value) {
  const auto written = sys::ensure_sysctl(name, value);
  if (!written && sys::sysctl_is_read_only(name)) {
    const auto live = sys::read_sysctl(name);
    SLUICE_LOG_INFO("A kernel setting belongs to the host of this network namespace, keeping the host's value",
                    {"setting", name}, {"value", live ? *live : ""});
  } else if (!written) {
    SLUICE_LOG_ERROR("Could not write a kernel setting, keeping the kernel's value", {"setting", name},
                     {"value", value}, {"err", written.error().what});
  } else if (*written) {
    SLUICE_LOG_INFO("Set sysctl", {"entry", name}, {"value", value});
  }
}

// The table behind the limit. It belongs to the whole machine, so it is raised, never lowered.
void raise_hash_size(std::int64_t wanted) {
  std::ifstream file(kHashSizeFile);
  std::int64_t current = 0;
  if (!(file >> current) || current >= wanted) return;
  std::ofstream out(kHashSizeFile);
  out << wanted << std::flush;
  if (!out)
    SLUICE_LOG_WARNING("Could not raise the conntrack hash size, keeping the kernel's value", {"file", kHashSizeFile},
                       {"value", wanted});
}

}  // namespace

void apply_conntrack_settings(const config::ProxyConfig& config) {
  const config::ConntrackPlan plan = conntrack_plan(config.conntrack, std::thread::hardware_concurrency());
  for (const config::SysctlSetting& setting : plan.settings) ensure(setting.name, std::to_string(setting.value));
  // A network namespace that may not set the limit (the kernel shows it read-only there) must not touch the machine's
  // table either.
  const std::ofstream limit("/proc/sys/net/netfilter/nf_conntrack_max", std::ios::app);
  if (plan.hash_size_min && limit) raise_hash_size(*plan.hash_size_min);
}

void allow_localhost_node_ports() {
  ensure("net/ipv4/conf/all/route_localnet", "1");
}

void apply_oom_score(const config::ProxyConfig& config) {
  if (!config.oom_score_adj) return;
  errno = 0;
  std::ofstream out("/proc/self/oom_score_adj");
  out << *config.oom_score_adj << std::flush;
  if (out) return;
  const int error = errno;
  // Only a process with CAP_SYS_RESOURCE may ask for a lower score than it was given; one without serves as well.
  if (error == EACCES || error == EPERM) {
    SLUICE_LOG_INFO("This process may not lower its OOM score, keeping the one inherited",
                    {"oomScoreAdj", *config.oom_score_adj});
  } else {
    SLUICE_LOG_WARNING("Failed to apply the OOM score, keeping the one inherited",
                       {"oomScoreAdj", *config.oom_score_adj}, {"err", std::strerror(error)});
  }
}

}  // namespace sluice::daemon
