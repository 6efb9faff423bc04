// SPDX-License-Identifier: Apache-2.0
// The operator moves one node to mode nftables and back. Until the new mode's first sync is done the old mode's rules
// serve, so claims about a mode are checked once the other's rules are gone.
#include <fmt/format.h>

#include "lab/walkthrough_acts.h"

namespace sluice::lab {
namespace {

constexpr const char* kNode = "k8s-node1";

// `nft list map` of what leads from an address, protocol and port to the way it is treated; empty if there is none.
std::string frontends(const Walkthrough& walkthrough) {
  const auto listed = walkthrough.lab.run(kNode, {"nft", "list", "map", "ip", "sluice-nftables", "frontends"});
  return listed && listed->exit_status == 0 ? listed->output : std::string();
}

std::string there_or_gone(bool gone) {
  return gone ? "gone" : "still there";
}

}  // namespace

Result<> show_switch_to_nftables(Walkthrough& walkthrough) {
  Screen& screen = walkthrough.screen;
  SLUICE_TRY(Users users, Users::start(walkthrough));
  screen.note(R"(the ConfigMap now says mode: "nftables", and the proxy of k8s-node1 is restarted)");
  SLUICE_CHECK_OK(restart_in_mode(walkthrough, kNode, "nftables", [&] {
    return frontends(walkthrough).find("10.104.247.10 . tcp . 80 ") != std::string::npos;
  }));
  check_mode(walkthrough, kNode, "nftables");
  const bool gone = eventually([&] { return nat_rules(walkthrough.lab, kNode).empty(); });
  screen.check(gone, "the rules of mode iptables", there_or_gone(gone), "gone");
  std::move(users).check(walkthrough);

  screen.heading(fmt::format("{}# nft list map ip sluice-nftables frontends", kNode));
  const std::string listed = frontends(walkthrough);
  screen.quote(listed);
  const bool refused = listed.find("10.103.3.3 . tcp . 80 : goto refuse") != std::string::npos;
  screen.check(refused, "the Service without endpoints", refused ? "refused" : "something else", "refused");
  return {};
}

Result<> show_nftables_traffic(Walkthrough& walkthrough) {
  const ProbeOptions many{.count = 60};
  walkthrough.screen.heading("The same Services, by k8s-node1's table");
  ask_each(walkthrough, {"k8s-node1", tcp("10.104.247.10", 80), many}, web_pods());
  ask_each(walkthrough, {"web-1", tcp("10.104.247.10", 80), many}, web_pods());  // also itself: hairpin
  ask_each(walkthrough, {"client", tcp("192.168.231.122", 31947), many}, web_pods());
  ask_each(walkthrough, {"web-2", udp("10.96.0.10", 53), many}, {"coredns-1", "coredns-2"});
  ask_each(walkthrough, {"k8s-node1", tcp("10.96.0.1", 443), {.count = 5}}, {"kube-apiserver"});
  ask_one_pod(walkthrough, {"web-2", tcp("10.100.20.30", 80), {.count = 20}});
  ask_one_pod(walkthrough, {"web-2", tcp("fd00:10:96::2030", 80), {.count = 20}});
  ask_failure(walkthrough, {"k8s-node1", tcp("10.103.3.3", 80), {.count = 5}}, ProbeFailure::kRefused);
  ask_failure(walkthrough, {"web-2", tcp("10.104.247.10", kMetricsPort), {.count = 5}}, ProbeFailure::kRefused);
  return {};
}

Result<> show_way_back_from_nftables(Walkthrough& walkthrough) {
  Screen& screen = walkthrough.screen;
  SLUICE_TRY(Users users, Users::start(walkthrough));
  screen.note("the mode is removed from the ConfigMap, and the proxy of k8s-node1 is restarted");
  SLUICE_CHECK_OK(restart_in_mode(walkthrough, kNode, "", [&] { return !nat_rules(walkthrough.lab, kNode).empty(); }));
  check_mode(walkthrough, kNode, "iptables");
  bool gone = false;
  std::string tables;
  eventually([&] {
    const auto listed = walkthrough.lab.run(kNode, {"nft", "list", "tables"});
    tables = listed ? listed->output + listed->error_output : listed.error().what;
    gone = listed && listed->exit_status == 0 && tables.find("sluice-nftables") == std::string::npos;
    return gone;
  });
  screen.heading(fmt::format("{}# nft list tables", kNode));
  screen.quote(tables);
  screen.check(gone, "both tables of mode nftables", there_or_gone(gone), "gone");
  std::move(users).check(walkthrough);
  return {};
}

}  // namespace sluice::lab
