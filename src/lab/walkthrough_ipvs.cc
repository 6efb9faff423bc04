// SPDX-License-Identifier: Apache-2.0
// The operator moves one node to mode ipvs, as with `kubectl edit configmap kube-proxy` and the deletion of its pod,
// and looks at the proof: what ipvsadm lists. Clients go on meanwhile.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>

#include "lab/state.h"
#include "lab/walkthrough_acts.h"

namespace sluice::lab {
namespace {

constexpr const char* kNode = "k8s-node1";
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

std::string listing(const Walkthrough& walkthrough) {
  const auto listed = walkthrough.lab.run(kNode, {walkthrough.program, "ipvsadm", "-L", "-n"});
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

bool lists(const std::string& block, const ExpectedServer& expected) {
  const auto lines = static_cast<std::size_t>(std::count(block.begin(), block.end(), '\n'));
  return lines == expected.real_servers.size() + 1 &&
         std::all_of(expected.real_servers.begin(), expected.real_servers.end(), [&block](const char* server) {
           return block.find(fmt::format("  -> {:<28} Masq    1 ", server)) != std::string::npos;
         });
}

}  // namespace

Result<bool> kernel_has_ipvs(const Walkthrough& walkthrough) {
  SLUICE_TRY(const sys::CollectedOutcome listed,
             walkthrough.lab.run(kNode, {walkthrough.program, "ipvsadm", "--engine", "kernel", "-L", "-n"}));
  return listed.exit_status == 0;
}

Result<> show_switch_to_ipvs(Walkthrough& walkthrough) {
  Lab& lab = walkthrough.lab;
  Screen& screen = walkthrough.screen;
  SLUICE_TRY(Pinger pinger, lab.ping("client", tcp("192.168.231.121", 31947), milliseconds(20)));
  const std::string config = fmt::format("{}/config-{}.conf", lab.folder(), kNode);
  SLUICE_CHECK_OK(write_text(config, proxy_config("ipvs")));
  screen.note(R"(the ConfigMap says mode: "ipvs" now, and the proxy of k8s-node1 is started anew)");
  SLUICE_CHECK_OK(lab.signal(kNode, "proxy", SIGTERM));
  if (!eventually([&] { return !lab.process(kNode, "proxy")->alive; }))
    return fail(Errc::kUnavailable, "the proxy does not end");
  const auto start = SteadyClock::now();
  SLUICE_CHECK_OK(start_proxy(walkthrough, kNode, config));
  SLUICE_CHECK_OK(wait_for_proxy(walkthrough, kNode,
                                 [&] { return listing(walkthrough).find("10.104.247.10:80") != std::string::npos; }));
  screen.note(fmt::format("its virtual servers are there after {} ms", since(start).count()));

  screen.heading(fmt::format("{}: what its log says", kNode));
  SLUICE_TRY(const std::string log, read_text(lab.log_file(kNode, "proxy")));
  const std::string line = lines_with(log, {"Using ipvs Proxier"}, 1);
  screen.quote(line);
  screen.check(!line.empty(), "the log", line.empty() ? "no word of it" : "names the mode",
               "a line with: Using ipvs Proxier");
  std::string answer;
  eventually([&] {
    const auto mode = lab.get(kNode, {loopback(), kMetricsPort}, "/proxyMode");
    answer = mode ? mode->body : mode.error().what;
    return static_cast<bool>(mode);
  });
  screen.check(answer == "ipvs", "the proxy's own page /proxyMode", answer, "ipvs");
  check_steady_traffic(walkthrough, "a client that connected by another node every 20 ms meanwhile", pinger.stop());
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
    screen.check(
        lists(block, expected), expected.virtual_server,
        block.empty() ? "not listed" : fmt::format("{} real servers", std::count(block.begin(), block.end(), '\n') - 1),
        fmt::format("{} real servers, Masq, weight 1", expected.real_servers.size()));
  }
  const auto device = walkthrough.lab.run(kNode, {"ip", "-o", "link", "show", "kube-ipvs0"});
  const std::string shown = device ? device->output : device.error().what;
  screen.heading(fmt::format("{}# ip link show kube-ipvs0", kNode));
  screen.quote(shown);
  screen.check(shown.find("<BROADCAST,NOARP>") != std::string::npos && shown.find("state DOWN") != std::string::npos,
               "the device of the addresses", shown.empty() ? "missing" : "there", "<BROADCAST,NOARP>, state DOWN");
  return {};
}

Result<> show_ipvs_traffic(Walkthrough& walkthrough) {
  const ProbeOptions many{.count = 30};
  walkthrough.screen.heading("The same Services, by IPVS of k8s-node1");
  ask_each(walkthrough, {"k8s-node1", tcp("10.104.247.10", 80), many}, web_pods());
  ask_each(walkthrough, {"client", tcp("192.168.231.122", 31947), many}, web_pods());
  ask_each(walkthrough, {"client", tcp("192.168.122.1", 31947), many}, web_pods());
  ask_each(walkthrough, {"web-1", tcp("10.104.247.10", 80), many}, web_pods());
  ask_each(walkthrough, {"k8s-node1", udp("10.96.0.10", 53), many}, {"coredns-1", "coredns-2"});
  ask_each(walkthrough, {"k8s-node1", tcp("10.96.0.1", 443), {.count = 5}}, {"kube-apiserver"});
  ask_failure(walkthrough, {"k8s-node1", tcp("10.103.3.3", 80), {.count = 5}}, ProbeFailure::kRefused);
  ask_failure(walkthrough, {"k8s-node1", tcp("10.104.247.10", kMetricsPort), {.count = 5}}, ProbeFailure::kRefused);
  return {};
}

}  // namespace sluice::lab
