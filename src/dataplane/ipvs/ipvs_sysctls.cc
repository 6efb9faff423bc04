// SPDX-License-Identifier: Apache-2.0
// Why each is needed (Documentation/networking/ipvs-sysctl.rst):
//  - vs/conntrack: masquerading happens in connection tracking, which must see IPVS connections.
//  - vs/expire_nodest_conn: connections of a real server that is gone end, instead of staying dead in the table.
//  - vs/expire_quiescent_template: affinity does not send new connections to a real server of weight 0.
//  - vs/conn_reuse_mode: before 5.9 a reused source port cost the client a second.
//  - ip_forward: packets to real servers are forwarded packets.
//  - arp_ignore and arp_announce: with strictARP, no other interface answers for addresses on kube-ipvs0.
// They belong to the node, not to us, and other software reads them; so they are given back when we leave for good.
// kube-proxy does not, which has left nodes with a strict ARP that nobody could explain.
#include "dataplane/ipvs/ipvs_sysctls.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>

#include "dataplane/ipvs/node_port_record.h"
#include "sys/sysctl.h"

namespace sluice::dataplane::ipvs {
namespace {

constexpr KernelVersion kConnReuseMended{5, 9};

struct Kept {
  std::string before;
  std::string ours;
};
using Record = std::map<std::string, Kept>;

std::string path_in(const std::string& folder) {
  return folder + "/ipvs-sysctls";
}

// Lines of "name before ours". None of these settings has blanks in its value.
Record read_record(const std::string& folder) {
  Record record;
  std::ifstream file(path_in(folder));
  std::string name;
  Kept kept;
  while (file >> name >> kept.before >> kept.ours) record[name] = kept;
  return record;
}

Result<> write_record(const std::string& folder, const Record& record) {
  std::string text;
  for (const auto& [name, kept] : record) text += fmt::format("{} {} {}\n", name, kept.before, kept.ours);
  return write_state_file(path_in(folder), text);
}

}  // namespace

KernelVersion kernel_version() {
  utsname names{};
  KernelVersion version;
  if (::uname(&names) == 0) (void)std::sscanf(names.release, "%u.%u", &version.major, &version.minor);
  return version;
}

std::vector<SysctlSetting> wanted_sysctls(bool strict_arp, KernelVersion kernel) {
  std::vector<SysctlSetting> wanted{{"net/ipv4/vs/conntrack", "1"}};
  if (kernel < kConnReuseMended) wanted.push_back({"net/ipv4/vs/conn_reuse_mode", "0"});
  wanted.push_back({"net/ipv4/vs/expire_nodest_conn", "1"});
  wanted.push_back({"net/ipv4/vs/expire_quiescent_template", "1"});
  wanted.push_back({"net/ipv4/ip_forward", "1"});
  if (strict_arp) {
    wanted.push_back({"net/ipv4/conf/all/arp_ignore", "1"});
    wanted.push_back({"net/ipv4/conf/all/arp_announce", "2"});
  }
  return wanted;
}

SysctlAccess system_sysctls() {
  return {.read = [](std::string_view name) { return sys::read_sysctl(name); },
          .write = [](std::string_view name, std::string_view value) -> Result<> {
            SLUICE_TRY([[maybe_unused]] const bool written, sys::ensure_sysctl(name, value));
            return {};
          }};
}

SysctlReport apply_sysctls(const std::vector<SysctlSetting>& wanted, const std::string& folder,
                           const SysctlAccess& access) {
  SysctlReport report;
  Record record = read_record(folder);
  for (const SysctlSetting& setting : wanted) {
    const auto before = access.read(setting.name);
    if (!before) {
      report.problems.push_back(before.error());
      continue;
    }
    if (*before == setting.value) continue;
    const auto kept = record.try_emplace(setting.name, Kept{*before, setting.value}).first;
    kept->second.ours = setting.value;
    // Without a record it would never be put back; serving matters more.
    if (auto noted = write_record(folder, record); !noted) report.problems.push_back(noted.error());
    if (auto written = access.write(setting.name, setting.value); !written) {
      report.problems.push_back(written.error());
      continue;
    }
    report.changed.push_back(setting);
  }
  return report;
}

SysctlReport restore_sysctls(const std::string& folder, const SysctlAccess& access) {
  SysctlReport report;
  Record record = read_record(folder);
  for (auto entry = record.begin(); entry != record.end();) {
    const auto& [name, kept] = *entry;
    const auto now = access.read(name);
    const bool ours = now && *now == kept.ours;
    if (ours && kept.before != kept.ours) {
      if (auto written = access.write(name, kept.before); !written) {
        report.problems.push_back(written.error());
        ++entry;
        continue;
      }
      report.changed.push_back({name, kept.before});
    }
    entry = record.erase(entry);
  }
  if (!record.empty()) {
    if (auto noted = write_record(folder, record); !noted) report.problems.push_back(noted.error());
  } else if (::unlink(path_in(folder).c_str()) != 0 && errno != ENOENT) {
    report.problems.push_back(
        {Errc::kInternal, fmt::format("remove {}: {}", path_in(folder), std::strerror(errno)), errno});
  }
  return report;
}

}  // namespace sluice::dataplane::ipvs
