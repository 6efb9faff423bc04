// SPDX-License-Identifier: Apache-2.0
// A proxy that is taken off a node, or is put into another mode, leaves rules behind: on purpose, so that traffic goes
// on without it. Somebody must take them away at last. kube-proxy's own --cleanup empties the whole IPVS table and
// forgets the IPv6 sets; here only what carries kube-proxy's names, or stands on its device, goes.
#include "daemon/cleanup.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string_view>

#include "config/config.h"
#include "daemon/commands.h"
#include "dataplane/iptables/iptables_data_plane.h"
#include "dataplane/ipvs/cleanup.h"
#include "ipvs/engines/open_engine.h"
#include "sys/netfilter_objects.h"

namespace sluice::daemon {
namespace {

// Opening the engine would load the module, which a node without mode ipvs does not need.
constexpr const char* kIpvsFile = "/proc/net/ip_vs";
constexpr const char* kNetworkNamespace = "/proc/thread-self/ns/net";
constexpr std::string_view kNftTable = "kube-proxy";

// The IP sets of kube-proxy's mode ipvs (pkg/proxy/ipvs/ipset.go).
constexpr std::array<std::string_view, 18> kIpSets{"KUBE-LOOP-BACK",
                                                   "KUBE-CLUSTER-IP",
                                                   "KUBE-EXTERNAL-IP",
                                                   "KUBE-EXTERNAL-IP-LOCAL",
                                                   "KUBE-LOAD-BALANCER",
                                                   "KUBE-LOAD-BALANCER-LOCAL",
                                                   "KUBE-LOAD-BALANCER-FW",
                                                   "KUBE-LOAD-BALANCER-SOURCE-CIDR",
                                                   "KUBE-LOAD-BALANCER-SOURCE-IP",
                                                   "KUBE-NODE-PORT-TCP",
                                                   "KUBE-NODE-PORT-LOCAL-TCP",
                                                   "KUBE-NODE-PORT-UDP",
                                                   "KUBE-NODE-PORT-LOCAL-UDP",
                                                   "KUBE-NODE-PORT-SCTP-HASH",
                                                   "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
                                                   "KUBE-HEALTH-CHECK-NODE-PORT",
                                                   "KUBE-IPVS-IPS",
                                                   "KUBE-LOAD-BALANCER-MASQ"};
constexpr std::size_t kIpSetNameMax = 31;

// For IPv6 "KUBE-" becomes "KUBE-6-", cut to 31 characters.
std::string ipset_name(std::string_view name, Family family) {
  if (family == Family::kIPv4) return std::string(name);
  return fmt::format("KUBE-6-{}", name.substr(std::string_view("KUBE-").size())).substr(0, kIpSetNameMax);
}

void clean_iptables(Family family, std::optional<dataplane::iptables::Serving> serving, CleanupReport& report) {
  const auto cleaned = dataplane::iptables::cleanup_iptables(family, serving);
  if (!cleaned) report.problems.push_back(fmt::format("iptables ({}): {}", to_string(family), cleaned.error().what));
  if (cleaned && *cleaned > 0)
    report.removed.push_back(
        fmt::format("{} chain{} of iptables ({})", *cleaned, *cleaned == 1 ? "" : "s", to_string(family)));
}

void clean_ipsets(CleanupReport& report) {
  std::size_t destroyed = 0;
  const auto destroy = [&](const std::string& name) {
    const auto gone = sys::destroy_ipset(name);
    if (!gone) report.problems.push_back(gone.error().what);
    if (gone && *gone) ++destroyed;
  };
  for (const std::string_view name : kIpSets) {
    for (const Family family : kFamilies) destroy(ipset_name(name, family));
  }
  if (destroyed > 0) report.removed.push_back(fmt::format("{} IP set{}", destroyed, destroyed == 1 ? "" : "s"));
}

}  // namespace

void append(CleanupReport& to, CleanupReport&& from) {
  for (std::string& text : from.removed) to.removed.push_back(std::move(text));
  for (std::string& text : from.problems) to.problems.push_back(std::move(text));
}

CleanupReport clean_up_iptables() {
  CleanupReport report;
  for (const Family family : kFamilies) clean_iptables(family, std::nullopt, report);
  clean_ipsets(report);
  return report;
}

CleanupReport clean_up_beside_iptables(const ServingFlavours& serving) {
  CleanupReport report;
  // kube-proxy's mode ipvs has these sets with or without Services.
  const auto sets = sys::list_ipsets();
  if (!sets) report.problems.push_back(sets.error().what);
  for (const auto& [family, flavour] : serving) {
    const std::string sign = ipset_name("KUBE-CLUSTER-IP", family);
    const bool after_ipvs_mode = sets && std::find(sets->begin(), sets->end(), sign) != sets->end();
    clean_iptables(family, dataplane::iptables::Serving{flavour, after_ipvs_mode}, report);
  }
  clean_ipsets(report);
  return report;
}

CleanupReport clean_up_nftables() {
  CleanupReport report;
  for (const Family family : kFamilies) {
    const auto deleted = sys::delete_nft_table(family, std::string(kNftTable));
    if (!deleted) report.problems.push_back(deleted.error().what);
    if (deleted && *deleted)
      report.removed.push_back(
          fmt::format("the nftables table {} {}", family == Family::kIPv4 ? "ip" : "ip6", kNftTable));
  }
  return report;
}

std::string state_folder(const std::string& data_dir) {
  struct stat status{};
  if (::stat(kNetworkNamespace, &status) != 0) return data_dir;
  return fmt::format("{}/netns-{}", data_dir, status.st_ino);
}

std::string kept_manifests_folder(const std::string& data_dir) {
  return state_folder(data_dir) + "/manifests";
}

CleanupReport clean_up_ipvs(const std::string& data_dir) {
  CleanupReport report;
  std::unique_ptr<ipvs::Engine> engine;
  if (::access(kIpvsFile, F_OK) == 0) {
    auto opened = ipvs::engines::open_engine("kernel");
    if (opened) {
      engine = std::move(*opened);
    } else {
      report.problems.push_back(opened.error().what);
    }
  }
  dataplane::ipvs::Cleaned cleaned = dataplane::ipvs::cleanup_ipvs(engine.get(), state_folder(data_dir));
  append(report, {std::move(cleaned.removed), std::move(cleaned.problems)});
  return report;
}

CleanupReport clean_up_everything(const std::string& data_dir) {
  CleanupReport report = clean_up_ipvs(data_dir);
  append(report, clean_up_iptables());
  append(report, clean_up_nftables());
  std::error_code error;
  std::filesystem::remove_all(kept_manifests_folder(data_dir), error);
  if (error) report.problems.push_back(fmt::format("{}: {}", kept_manifests_folder(data_dir), error.message()));
  std::filesystem::remove(state_folder(data_dir), error);  // where nothing else is in it
  return report;
}

int run_cleanup(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) {
    const bool help = arguments.front() == "--help" || arguments.front() == "-h";
    fmt::print(help ? stdout : stderr,
               "usage: sluice cleanup\n\nTakes away all rules, tables, sets and devices of Sluice and of kube-proxy, "
               "of every mode, in this network\n"
               "namespace, and nothing else. A proxy that still runs here writes its rules again.\n");
    return help ? 0 : 2;
  }
  const CleanupReport report = clean_up_everything(config::SluiceConfig().data_dir);
  for (const std::string& text : report.removed) fmt::print("removed {}\n", text);
  for (const std::string& text : report.problems) fmt::print(stderr, "sluice cleanup: {}\n", text);
  if (!report.problems.empty()) {
    // kube-proxy's own words, for scripts that look for them.
    fmt::print(stderr, "sluice cleanup: encountered an error while tearing down rules\n");
    return 1;
  }
  fmt::print("nothing of Sluice or kube-proxy is left\n");
  return 0;
}

}  // namespace sluice::daemon
