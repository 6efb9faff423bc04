// SPDX-License-Identifier: Apache-2.0
// The operator moves one node to mode ipvs and back, as with `kubectl edit configmap kube-proxy` and the deletion of
// its pod, and looks at the proof: what ipvsadm lists. Clients continue meanwhile, through that node. Until the new
// mode's first sync is done the old mode's rules serve, so claims about a mode are checked once the other's rules are
// gone: IPVS's rr takes turns, which the iptables rules' random choice does not, and its counters move.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "lab/state.h"
#include "lab/walkthrough_acts.h"

namespace sluice::lab {
namespace {

constexpr const char* kNode = "k8s-node1";
// A connection whose end IPVS missed counts as established for 15 minutes; the tour does not wait for that.
constexpr const char* kDrainAMinute =
    "---\napiVersion: sluice.dev/v1alpha1\nkind: SluiceConfiguration\nipvs:\n  drainTimeout: 60s\n";
constexpr std::string_view kHeader =
    "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n";

struct ExpectedServer {
  const char* virtual_server;
  std::vector<const char*> real_servers;
};

const std::vector<ExpectedServer>& expected_servers() {
  static const std::vector<ExpectedServer> servers{
      {"TCP  10.104.247.10:80 rr", {"10.244.169.161:80", "10.244.169.163:80", "10.244.169.165:80"}},
      {"TCP  192.168.122.1:31947 rr", {"10.244.169.161:80", "10.244.169.163:80", "10.244.169.165:80"}},
      {"TCP  192.168.231.122:31947 rr", {"10.244.169.161:80", "10.244.169.163:80", "10.244.169.165:80"}},
      {"UDP  10.96.0.10:53 rr", {"10.244.169.149:53", "10.244.169.156:53"}},
      {"TCP  10.96.0.1:443 rr", {"192.168.231.121:6443"}}};
  return servers;
}

// What `ipvsadm -L -n OPTION...` prints on the node.
std::string listing(const Walkthrough& walkthrough, const std::vector<std::string>& options = {}) {
  std::vector<std::string> words{walkthrough.program, "ipvsadm", "-L", "-n"};
  words.insert(words.end(), options.begin(), options.end());
  const auto listed = walkthrough.lab.run(kNode, words);
  return listed && listed->exit_status == 0 ? listed->output : std::string();
}

// One virtual server's lines in a listing.
std::string block_of(const std::string& listing, const std::string& virtual_server) {
  const std::size_t begin = listing.find("\n" + virtual_server);
  if (begin == std::string::npos) return {};
  std::size_t end = listing.find('\n', begin + 1);
  while (end != std::string::npos && listing.compare(end + 1, 4, "  ->") == 0) end = listing.find('\n', end + 1);
  return listing.substr(begin + 1, end == std::string::npos ? end : end - begin);
}

std::string count_of_servers(std::ptrdiff_t count) {
  return fmt::format("{} real server{}", count, count == 1 ? "" : "s");
}

bool lists(const std::string& block, const ExpectedServer& expected) {
  const auto lines = static_cast<std::size_t>(std::count(block.begin(), block.end(), '\n'));
  return lines == expected.real_servers.size() + 1 &&
         std::all_of(expected.real_servers.begin(), expected.real_servers.end(), [&block](const char* server) {
           return block.find(fmt::format("  -> {:<28} Masq    1 ", server)) != std::string::npos;
         });
}

// "Conns" of a virtual server's line in `ipvsadm -L -n --stats`.
int connections_of(const std::string& block) {
  std::istringstream words(block);
  std::string protocol;
  std::string address;
  int connections = 0;
  return words >> protocol >> address >> connections ? connections : 0;
}

}  // namespace

Result<std::string> engine_of_nodes(const Walkthrough& walkthrough) {
  for (const char* engine : {"kernel", "ebpf"}) {
    SLUICE_TRY(const sys::CollectedOutcome listed,
               walkthrough.lab.run(kNode, {walkthrough.program, "ipvsadm", "--engine", engine, "-L", "-n"}));
    if (listed.exit_status == 0) return std::string(engine);
  }
  return std::string();
}

Result<> show_switch_to_ipvs(Walkthrough& walkthrough) {
  Screen& screen = walkthrough.screen;
  SLUICE_TRY(Users users, Users::start(walkthrough));
  screen.note(R"(the ConfigMap now says mode: "ipvs", and the proxy of k8s-node1 is restarted)");
  if (walkthrough.engine == "ebpf")
    screen.note("this kernel has no ip_vs, so the engine is Sluice's own, in BPF (ipvs.engine: auto)");
  SLUICE_CHECK_OK(restart_in_mode(walkthrough, kNode, "ipvs",
                                  [&] { return listing(walkthrough).find("10.104.247.10:80") != std::string::npos; }));
  check_mode(walkthrough, kNode, "ipvs");
  const bool gone = eventually([&] { return nat_rules(walkthrough.lab, kNode).empty(); });
  screen.check(gone, "the rules of mode iptables", gone ? "gone" : "still there", "gone");
  std::move(users).check(walkthrough);
  return {};
}

Result<> show_ipvsadm(Walkthrough& walkthrough) {
  Screen& screen = walkthrough.screen;
  screen.heading(fmt::format("{}# ipvsadm -L -n", kNode));
  const std::string listed = listing(walkthrough);
  screen.quote(listed);
  screen.check(listed.find("IP Virtual Server version 1.2.1 (size=") == 0 && listed.find(kHeader) != std::string::npos,
               "the three header lines", listed.substr(0, listed.find('\n')), "as ipvsadm prints them");
  for (const ExpectedServer& expected : expected_servers()) {
    const std::string block = block_of(listed, expected.virtual_server);
    screen.check(lists(block, expected), expected.virtual_server,
                 block.empty() ? "not listed" : count_of_servers(std::count(block.begin(), block.end(), '\n') - 1),
                 count_of_servers(static_cast<std::ptrdiff_t>(expected.real_servers.size())) + ", Masq, weight 1");
  }
  const auto device = walkthrough.lab.run(kNode, {"ip", "link", "show", "kube-ipvs0"});
  const std::string shown = device ? device->output + device->error_output : device.error().what;
  screen.heading(fmt::format("{}# ip link show kube-ipvs0", kNode));
  screen.quote(shown);
  if (walkthrough.engine == "kernel") {
    screen.check(shown.find("<BROADCAST,NOARP>") != std::string::npos && shown.find("state DOWN") != std::string::npos,
                 "the device of the addresses", shown.empty() ? "missing" : "there", "<BROADCAST,NOARP>, state DOWN");
  } else {
    screen.check(device && device->exit_status != 0, "a device that makes Services' addresses local",
                 device && device->exit_status != 0 ? "none" : "there", "none: this engine needs none");
  }
  return {};
}

Result<> show_ipvs_traffic(Walkthrough& walkthrough) {
  Screen& screen = walkthrough.screen;
  const ProbeOptions many{.count = 30};
  const std::set<std::string> dns{"coredns-1", "coredns-2"};
  screen.heading("The same Services, by IPVS of k8s-node1: scheduler rr takes turns");
  ask_in_turn(walkthrough, {"k8s-node1", tcp("10.104.247.10", 80), many}, web_pods());
  ask_in_turn(walkthrough, {"web-1", tcp("10.104.247.10", 80), many}, web_pods());  // also itself: hairpin
  ask_in_turn(walkthrough, {"client", tcp("10.104.247.10", 80), many}, web_pods());
  ask_in_turn(walkthrough, {"client", tcp("192.168.231.122", 31947), many}, web_pods());
  ask_in_turn(walkthrough, {"client", tcp("192.168.122.1", 31947), many}, web_pods());
  ask_in_turn(walkthrough, {"k8s-node1", udp("10.96.0.10", 53), many}, dns);
  ask_in_turn(walkthrough, {"web-2", udp("10.96.0.10", 53), many}, dns);
  ask_in_turn(walkthrough, {"k8s-node1", tcp("10.96.0.1", 443), {.count = 5}}, {"kube-apiserver"});
  ask_failure(walkthrough, {"k8s-node1", tcp("10.103.3.3", 80), {.count = 5}}, ProbeFailure::kRefused);
  ask_failure(walkthrough, {"k8s-node1", tcp("10.104.247.10", kMetricsPort), {.count = 5}}, ProbeFailure::kRefused);

  // The kernel updates its counters every two seconds.
  constexpr int kAsked = 90;
  const std::vector<std::string> options{"--stats", "-t", "10.104.247.10:80"};
  std::string counters;
  const bool counted = eventually([&] {
    counters = listing(walkthrough, options);
    return connections_of(block_of(counters, "TCP  10.104.247.10:80")) >= kAsked;
  });
  screen.heading(fmt::format("{}# ipvsadm -L -n {}", kNode, fmt::join(options, " ")));
  screen.quote(counters);
  screen.check(counted, "these connections, in IPVS's own counters", counted ? "counted" : "missing",
               fmt::format("at least {}", kAsked));
  return {};
}

Result<> show_way_back(Walkthrough& walkthrough) {
  Screen& screen = walkthrough.screen;
  {
    SLUICE_TRY(Users users, Users::start(walkthrough));
    screen.note("the mode is removed from the ConfigMap, and the proxy of k8s-node1 is restarted;");
    screen.note("connections that IPVS carries get a minute to end (ipvs.drainTimeout)");
    SLUICE_CHECK_OK(restart_in_mode(
        walkthrough, kNode, "", [&] { return !nat_rules(walkthrough.lab, kNode).empty(); }, kDrainAMinute));
    check_mode(walkthrough, kNode, "iptables");
    const bool kept = !block_of(listing(walkthrough), "TCP  10.104.247.10:80").empty();
    screen.check(kept, "the virtual servers, while connections use them", kept ? "kept" : "gone", "kept");
    std::move(users).check(walkthrough);
  }
  screen.note("these connections are closed; unused virtual servers are removed at the next check");
  std::string listed;
  eventually([&] {
    listed = listing(walkthrough);
    return std::count(listed.begin(), listed.end(), '\n') == 3;
  });
  screen.heading(fmt::format("{}# ipvsadm -L -n", kNode));
  screen.quote(listed);
  const auto lines = std::count(listed.begin(), listed.end(), '\n');
  screen.check(lines == 3 && listed.ends_with(kHeader), "the three header lines", lines == 3 ? "alone" : "not alone",
               "alone");
  const auto device = walkthrough.lab.run(kNode, {"ip", "link", "show", "kube-ipvs0"});
  screen.heading(fmt::format("{}# ip link show kube-ipvs0", kNode));
  screen.quote(device ? device->output + device->error_output : device.error().what);
  screen.check(device && device->exit_status != 0, "the device of the addresses",
               device && device->exit_status != 0 ? "gone" : "still there", "gone");
  screen.heading("Real traffic, by iptables again");
  ask_each(walkthrough, {"client", tcp("192.168.231.122", 31947), {.count = 60}}, web_pods());
  ask_each(walkthrough, {"web-1", tcp("10.104.247.10", 80), {.count = 60}}, web_pods());
  return {};
}

}  // namespace sluice::lab
