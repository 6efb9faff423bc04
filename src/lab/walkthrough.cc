// SPDX-License-Identifier: Apache-2.0
// The frame of the guided tour: make the lab, write the objects, run the steps one after the other, remove everything
// and check that nothing is left. Another step is another line in a list of steps.
#include "lab/walkthrough.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>

#include "lab/interrupt.h"
#include "lab/network.h"
#include "lab/report.h"
#include "lab/state.h"
#include "lab/walkthrough_files.h"
#include "sys/links.h"

namespace sluice::lab {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr WalkthroughStep kStart{"No mode is named, so the proxies run in iptables mode", show_default_mode};
constexpr std::array<WalkthroughStep, 3> kIptablesSteps{{
    {"Real traffic", show_traffic},
    {"An endpoint goes, and comes back", show_live_change},
    {"A proxy is killed", show_crash},
}};
constexpr std::array<WalkthroughStep, 3> kNftablesSteps{{
    {"A switch: k8s-node1 goes to mode nftables", show_switch_to_nftables},
    {"Real traffic by nftables", show_nftables_traffic},
    {"And back: k8s-node1 returns to mode iptables", show_way_back_from_nftables},
}};
constexpr std::array<WalkthroughStep, 4> kIpvsSteps{{
    {"The switch: k8s-node1 goes to mode ipvs", show_switch_to_ipvs},
    {"The proof: ipvsadm lists the virtual servers", show_ipvsadm},
    {"Real traffic by IPVS", show_ipvs_traffic},
    {"The way back: k8s-node1 returns to mode iptables", show_way_back},
}};

double seconds_since(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// The lab of the tour: with the requested id, otherwise the first of walkthrough, walkthrough2, ... that is
// free. What a killed earlier tour left is removed first; one that is running, or was kept, stays.
Result<Lab> make_lab(const std::string& wanted) {
  constexpr int kToursMax = 50;
  for (int number = 1;; ++number) {
    const std::string id = !wanted.empty() ? wanted
                           : number == 1   ? "walkthrough"
                                           : fmt::format("walkthrough{}", number);
    auto lab = Lab::up({.id = id,
                        .topology = walkthrough_topology(),
                        .agent = AgentKind::kProcess,
                        .agent_program = {},
                        .cancelled = [] { return interrupted() != 0; }});
    if (lab || lab.error().code != Errc::kAlreadyExists || !wanted.empty() || number == kToursMax) return lab;
  }
}

Result<> write_objects(const Walkthrough& walkthrough) {
  const Topology& topology = walkthrough.lab.topology();
  std::error_code error;
  std::filesystem::create_directories(walkthrough.manifests, error);
  if (error) return fail(Errc::kInternal, "make " + walkthrough.manifests + ": " + error.message(), error.value());
  for (const NodeSpec& node : topology.nodes) {
    SLUICE_CHECK_OK(write_text(fmt::format("{}/node-{}.yaml", walkthrough.manifests, node.name), node_manifest(node)));
  }
  for (const ExampleService& service : walkthrough_services()) {
    SLUICE_CHECK_OK(write_text(fmt::format("{}/{}.yaml", walkthrough.manifests, service.name),
                               service_manifest(service, topology)));
  }
  return {};
}

Result<> run_step(Walkthrough& walkthrough, const WalkthroughStep& step) {
  walkthrough.screen.step(step.title);
  SLUICE_CHECK_OK(step.run(walkthrough));
  if (interrupted() != 0) return fail(Errc::kUnavailable, "interrupted");
  return {};
}

Result<> run_steps(Walkthrough& walkthrough, const WalkthroughOptions& options) {
  SLUICE_CHECK_OK(run_step(walkthrough, kStart));
  if (!options.only_ipvs) {
    for (const WalkthroughStep& step : kIptablesSteps) SLUICE_CHECK_OK(run_step(walkthrough, step));
    for (const WalkthroughStep& step : kNftablesSteps) SLUICE_CHECK_OK(run_step(walkthrough, step));
  }
  SLUICE_TRY(walkthrough.engine, engine_of_nodes(walkthrough));
  if (walkthrough.engine.empty() && options.only_ipvs)
    return fail(Errc::kUnsupported,
                "no engine of mode ipvs runs on this kernel: it has no ip_vs, and BPF is not usable");
  if (walkthrough.engine.empty()) {
    walkthrough.screen.note("");
    walkthrough.screen.note("No engine of mode ipvs runs on this kernel, so its steps cannot be shown.");
    return {};
  }
  for (const WalkthroughStep& step : kIpvsSteps) SLUICE_CHECK_OK(run_step(walkthrough, step));
  return {};
}

Result<> tour(Lab& lab, Screen& screen, const WalkthroughOptions& options) {
  Walkthrough walkthrough{
      .lab = lab, .screen = screen, .program = options.program, .manifests = lab.folder() + "/manifests"};
  if (walkthrough.program.empty()) {
    SLUICE_TRY(walkthrough.program, sys::own_program());
  }
  SLUICE_CHECK_OK(write_objects(walkthrough));
  screen.heading("Services, as YAML in " + walkthrough.manifests);
  screen.table(service_rows(walkthrough_services()));
  return run_steps(walkthrough, options);
}

Result<> tear_down(Lab& lab, Screen& screen) {
  screen.step("Everything goes away");
  const std::string id = lab.id();
  const auto start = SteadyClock::now();
  SLUICE_CHECK_OK(lab.down());
  screen.note(fmt::format("taken down in {:.2f} s", seconds_since(start)));
  SLUICE_TRY(const std::vector<std::string> left, find_leftovers(id));
  SLUICE_TRY(const std::vector<std::string> links, sys::list_links());
  const auto link = std::find_if(links.begin(), links.end(), is_lab_link);
  screen.check(left.empty(), "namespaces, processes and files of the lab", left.empty() ? "none left" : left.front(),
               "none left");
  screen.check(link == links.end(), "its links in the machine's own namespace", link == links.end() ? "none" : *link,
               "none");
  return {};
}

void say_kept(const Lab& lab, Screen& screen) {
  const std::string node = lab.topology().nodes.back().name;
  screen.note(
      fmt::format("The lab stays. Objects: {}/manifests (edit them: the proxies follow). For example:", lab.folder()));
  screen.note(fmt::format("  sluice lab probe --id {} toolbox tcp 10.104.247.10 80", lab.id()));
  screen.note(fmt::format("  sluice lab exec --id {} {} -- iptables-save -t nat", lab.id(), node));
  screen.note(fmt::format("  sluice lab down --id {}", lab.id()));
}

Result<> run_all(Screen& screen, const WalkthroughOptions& options) {
  screen.title("Sluice: a small Kubernetes cluster and its Services");
  const auto kernel = read_text("/proc/sys/kernel/osrelease");
  screen.note(
      fmt::format("Hosts are network namespaces of this machine; the packets and the kernel that forwards them, Linux "
                  "{}, are real.",
                  kernel ? kernel->substr(0, kernel->find('\n')) : "of some version"));
  screen.note("");
  const auto start = SteadyClock::now();
  SLUICE_TRY(Lab lab, make_lab(options.id));
  screen.table(host_rows(lab.topology()));
  screen.note("");
  screen.note(fmt::format("lab {} is up after {:.2f} s", lab.id(), seconds_since(start)));
  Result<> toured = tour(lab, screen, options);
  if (options.keep && toured) {
    SLUICE_CHECK_OK(lab.keep());
    say_kept(lab, screen);
    return {};
  }
  Result<> down = tear_down(lab, screen);
  if (!toured) return toured;
  return down;
}

}  // namespace

int run_walkthrough(const WalkthroughOptions& options) {
  const InterruptGuard guard;
  Screen screen(stdout);
  const auto start = SteadyClock::now();
  const Result<> ran = run_all(screen, options);
  if (!ran) fmt::print(stderr, "sluice lab walkthrough: {}\n", ran.error().what);
  const bool fine = ran && screen.failures() == 0;
  screen.note("");
  screen.note(fmt::format("{} of {} expectations hold{}; {:.1f} s in all.", screen.checks() - screen.failures(),
                          screen.checks(), ran ? "" : ", then the tour broke off", seconds_since(start)));
  return fine ? 0 : 1;
}

}  // namespace sluice::lab
