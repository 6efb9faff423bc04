// SPDX-License-Identifier: Apache-2.0
// A proxy that is taken off a node, or is put into another mode, leaves rules behind: on purpose, so that traffic goes on without
// it. Somebody must take them away at last. kube-proxy's own --cleanup empties the whole IPVS table and forgets the IPv6 sets; here
// only what carries kube-proxy's names, or stands on its device, goes.
#include "daemon/cleanup.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <string_view>

#include "daemon/commands.h"
#include "dataplane/iptables/iptables_data_plane.h"
#include "sys/links.h"
#include "sys/netfilter_objects.h"

namespace sluice::daemon {
namespace {

constexpr std::string_view kIpvsDevice = "kube-ipvs0";
constexpr std::string_view kNftTable = "kube-proxy";

// The IP sets of kube-proxy's mode ipvs (pkg/proxy/ipvs/ipset.go). For IPv6 "KUBE-" becomes "KUBE-6-", cut to 31 characters.
constexpr std::array<std::string_view, 18> kIpSets{
    "KUBE-LOOP-BACK", "KUBE-CLUSTER-IP", "KUBE-EXTERNAL-IP", "KUBE-EXTERNAL-IP-LOCAL", "KUBE-LOAD-BALANCER", "KUBE-LOAD-BALANCER-LOCAL",
    "KUBE-LOAD-BALANCER-FW", "KUBE-LOAD-BALANCER-SOURCE-CIDR", "KUBE-LOAD-BALANCER-SOURCE-IP", "KUBE-NODE-PORT-TCP",
    "KUBE-NODE-PORT-LOCAL-TCP", "KUBE-NODE-PORT-UDP", "KUBE-NODE-PORT-LOCAL-UDP", "KUBE-NODE-PORT-SCTP-HASH", "KUBE-NODE-PORT-LOCAL-SCTP-HASH",
    "KUBE-HEALTH-CHECK-NODE-PORT", "KUBE-IPVS-IPS", "KUBE-LOAD-BALANCER-MASQ"};
constexpr std::size_t kIpSetNameMax = 31;

void clean_iptables(CleanupReport& report) {
  for (const Family family : kFamilies) {
    const auto cleaned = dataplane::iptables::cleanup_iptables(family);
    if (!cleaned) report.problems.push_back(fmt::format("iptables ({}): {}", to_string(family), cleaned.error().what));
  }
}

void clean_ipsets(CleanupReport& report) {
  std::size_t destroyed = 0;
  const auto destroy = [&](const std::string& name) {
    const auto gone = sys::destroy_ipset(name);
    if (!gone) report.problems.push_back(gone.error().what);
    if (gone && *gone) ++destroyed;
  };
  for (const std::string_view name : kIpSets) {
    destroy(std::string(name));
    destroy(fmt::format("KUBE-6-{}", name.substr(std::string_view("KUBE-").size())).substr(0, kIpSetNameMax));
  }
  if (destroyed > 0) report.removed.push_back(fmt::format("{} IP sets", destroyed));
}

void clean_device(CleanupReport& report) {
  const std::string name(kIpvsDevice);
  const auto exists = sys::link_exists(name);
  if (!exists) return report.problems.push_back(exists.error().what);
  if (!*exists) return;
  if (const auto removed = sys::remove_link(name); !removed) return report.problems.push_back(removed.error().what);
  report.removed.push_back(fmt::format("the device {}", name));
}

}  // namespace

void append(CleanupReport& to, CleanupReport&& from) {
  for (std::string& text : from.removed) to.removed.push_back(std::move(text));
  for (std::string& text : from.problems) to.problems.push_back(std::move(text));
}

CleanupReport clean_up_iptables() {
  CleanupReport report;
  clean_iptables(report);
  clean_ipsets(report);
  return report;
}

CleanupReport clean_up_nftables() {
  CleanupReport report;
  for (const Family family : kFamilies) {
    const auto deleted = sys::delete_nft_table(family, std::string(kNftTable));
    if (!deleted) report.problems.push_back(deleted.error().what);
    if (deleted && *deleted) report.removed.push_back(fmt::format("the nftables table {} {}", family == Family::kIPv4 ? "ip" : "ip6", kNftTable));
  }
  return report;
}

CleanupReport clean_up_everything() {
  CleanupReport report = clean_up_iptables();
  append(report, clean_up_nftables());
  clean_device(report);
  return report;
}

int run_cleanup(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) {
    const bool help = arguments.front() == "--help" || arguments.front() == "-h";
    fmt::print(help ? stdout : stderr,
               "usage: sluice cleanup\n\nTakes away all rules, tables, sets and devices of Sluice and of kube-proxy, of every mode, in this network\n"
               "namespace, and nothing else. A proxy that still runs here writes its rules again.\n");
    return help ? 0 : 2;
  }
  const CleanupReport report = clean_up_everything();
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
