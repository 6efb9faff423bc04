// SPDX-License-Identifier: Apache-2.0
// The life cycle of a lab. Up: folder first, then namespaces, then the agent; so whenever a crash happens the
// folder, or the namespaces' names, show that there is something to remove. Down: processes first, since a
// namespace exists as long as a process is in it; then the namespaces; the folder last. Processes are found by the
// namespaces that they are in and by SLUICE_LAB=<id> in their environment, not by the files that name them: those may
// never have been written.
#include "lab/lab.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <set>
#include <thread>
#include <tuple>

#include "base/data_folder.h"
#include "lab/agent.h"
#include "lab/cluster_files.h"
#include "lab/network.h"
#include "lab/state.h"
#include "sys/cgroups.h"
#include "sys/file_lock.h"
#include "sys/netns.h"
#include "sys/state_folder.h"

namespace sluice::lab {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
constexpr milliseconds kLockTimeout{30000};
constexpr milliseconds kEndGrace{3000};
constexpr int kEndRoundsMax = 20;          // of ending processes that were started meanwhile
constexpr int kAgentWaitTurnsMax = 10000;  // of 1 ms
constexpr std::size_t kNamesShown = 20;
constexpr int kOwnerWaitTurnsMax = 2000;  // of 1 ms: between a new folder and its owner's name a file or two is written

// "; there are a, b and 17 more", or nothing if there is none.
std::string there_are(const std::vector<std::string>& names) {
  if (names.empty()) return "";
  const auto shown = std::min(names.size(), kNamesShown);
  return fmt::format("; there are {}{}",
                     fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                     names.size() > shown ? fmt::format(" and {} more", names.size() - shown) : "");
}

std::string environment_mark(const std::string& id) {
  return "SLUICE_LAB=" + id;
}

Result<sys::ProcessMark> mark_of(const std::string& id) {
  sys::ProcessMark mark{.namespaces = {}, .environment_entry = environment_mark(id)};
  SLUICE_TRY(const std::vector<std::string> names, list_lab_netns(id));
  for (const std::string& name : names) {
    if (const auto netns = sys::netns_id(name)) mark.namespaces.push_back(*netns);
  }
  return mark;
}

Result<> end_processes(const std::string& id) {
  SLUICE_TRY(const sys::ProcessMark mark, mark_of(id));
  for (int round = 0; round < kEndRoundsMax; ++round) {
    SLUICE_TRY(const std::vector<sys::ProcessId> found, sys::find_processes(mark));
    if (found.empty()) return {};
    for (const sys::ProcessId& process : found) SLUICE_CHECK_OK(sys::signal_process(process, SIGTERM));
    const auto deadline = std::chrono::steady_clock::now() + kEndGrace;
    for (const sys::ProcessId& process : found) {
      const auto left = std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
      SLUICE_CHECK_OK(sys::end_process(process, std::max(left, milliseconds(0))));
    }
  }
  return fail(Errc::kUnavailable, fmt::format("lab {}: its processes start new ones faster than they end", id));
}

// What proxies on the lab's nodes have kept for a restart: useless once the namespaces are gone, and
// its owner would then be unknown.
Result<> remove_proxies_folders(const std::string& id) {
  SLUICE_TRY(const std::vector<std::string> names, list_lab_netns(id));
  Result<> outcome;
  for (const std::string& name : names) {
    // A name without a namespace, which a crash may leave, is not entered.
    (void)sys::in_netns(name, [&outcome]() -> Result<> {
      std::set<std::string> folders = sys::noted_state_folders();
      folders.insert(sys::state_folder(kDefaultDataFolder));
      for (const std::string& folder : folders) {
        std::error_code error;
        fs::remove_all(folder, error);
        if (error) outcome = fail(Errc::kInternal, fmt::format("lab: remove {}: {}", folder, error.message()));
      }
      return {};
    });
  }
  return outcome;
}

// With the lock held, if the lab's folder still exists.
Result<> remove_everything(const std::string& id) {
  SLUICE_CHECK_OK(end_processes(id));
  SLUICE_CHECK_OK(remove_proxies_folders(id));
  SLUICE_CHECK_OK(remove_network(id));
  SLUICE_CHECK_OK(sys::remove_cgroup(cluster_cgroup(id)));
  return remove_state_folder(id);
}

bool maker_alive(const std::string& folder) {
  const auto maker = read_process(folder + "/owner");
  return maker && sys::process_alive(*maker);
}

bool has_owner(const std::string& folder) {
  return file_exists(folder + "/kept") || maker_alive(folder);
}

// Makes the folder, with its lock held and its owner's name in it. An orphan of that id is removed first. A slow
// process may find that its folder was taken for an orphan's, and another process' name in the next one.
Result<sys::FileLock> claim_folder(const std::string& id) {
  if (auto made = make_state_folder(id); !made) {
    if (made.error().code != Errc::kAlreadyExists) return tl::unexpected(made.error());
    SLUICE_TRY(const bool gone, take_down_orphan(id));
    if (!gone) return tl::unexpected(made.error());
    SLUICE_CHECK_OK(make_state_folder(id));
  }
  const std::string folder = state_folder(id);
  SLUICE_TRY(sys::FileLock lock, sys::FileLock::take(folder + "/lock", kLockTimeout));
  if (file_exists(folder + "/owner"))
    return fail(Errc::kAlreadyExists, fmt::format("lab: there is already a lab '{}'", id));
  const auto self = sys::identify_process(::getpid());
  const auto written = self ? write_process(folder + "/owner", *self) : Result<>(tl::unexpected(self.error()));
  if (!written) {
    (void)remove_state_folder(id);
    return tl::unexpected(written.error());
  }
  return lock;
}

Result<> start_agent_process(const LabOptions& options, const std::string& folder) {
  std::string program = options.agent_program;
  if (program.empty()) {
    SLUICE_TRY(program, sys::own_program());
  }
  SLUICE_TRY(const sys::ProcessId agent, sys::start_detached({.arguments = {program, "lab", "agent", folder},
                                                              .netns = netns_name(options.id, kFabricHost),
                                                              .log_file = folder + "/agent.log",
                                                              .environment = {environment_mark(options.id)}}));
  SLUICE_CHECK_OK(write_process(folder + "/agent.process", agent));
  for (int turn = 0; turn < kAgentWaitTurnsMax; ++turn) {
    if (file_exists(folder + "/agent.ready")) return {};
    if (!sys::process_alive(agent)) break;
    std::this_thread::sleep_for(milliseconds(1));
  }
  const auto log = read_text(folder + "/agent.log");
  return fail(Errc::kUnavailable, fmt::format("lab: the agent does not start: {}", log ? *log : std::string()));
}

}  // namespace

struct Lab::State {
  std::string id;
  std::string folder;
  Topology topology;
  bool owned = false;
  std::unique_ptr<Agent> agent;  // if it is one of our threads
  std::thread agent_thread;

  void stop_agent_thread() {
    if (!agent_thread.joinable()) return;
    agent->stop();
    agent_thread.join();
    agent.reset();
  }
};

std::string unique_id() {
  static std::atomic<int> counter = 0;
  return fmt::format("t{}n{}", ::getpid(), ++counter);
}

Lab::Lab(std::unique_ptr<State> state) : state_(std::move(state)) {}
Lab::Lab(Lab&&) noexcept = default;

Lab::~Lab() {
  if (!state_) return;
  state_->stop_agent_thread();
  if (state_->owned) (void)down();
}

Result<Lab> Lab::up(const LabOptions& options) {
  SLUICE_CHECK_OK(check_topology(options.topology));
  SLUICE_TRY(const sys::FileLock lock, claim_folder(options.id));
  auto state = std::make_unique<State>();
  state->id = options.id;
  state->folder = state_folder(options.id);
  state->topology = options.topology;
  const auto build = [&]() -> Result<> {
    SLUICE_CHECK_OK(write_text(state->folder + "/topology", encode_topology(options.topology)));
    SLUICE_CHECK_OK(build_network(options.id, options.topology, options.cancelled));
    if (options.agent == AgentKind::kProcess) return start_agent_process(options, state->folder);
    SLUICE_TRY(state->agent, Agent::open(options.id, options.topology));
    state->agent_thread = std::thread([agent = state->agent.get()] { (void)agent->serve(); });
    return {};
  };
  if (const auto built = build(); !built) {
    state->stop_agent_thread();
    (void)remove_everything(options.id);
    return annotate(built.error(), fmt::format("lab {}", options.id));
  }
  state->owned = true;
  return Lab(std::move(state));
}

Result<Lab> Lab::open(const std::string& id) {
  auto state = std::make_unique<State>();
  state->id = id;
  state->folder = state_folder(id);
  if (!good_id(id) || !file_exists(state->folder)) {
    auto labs = list_labs();
    if (labs) std::erase(*labs, id);  // only its namespaces may be left
    return fail(Errc::kNotFound, fmt::format("there is no lab '{}'{}", id, labs ? there_are(*labs) : ""));
  }
  SLUICE_TRY(const std::string text, read_text(state->folder + "/topology"));
  SLUICE_TRY(state->topology, decode_topology(text));
  return Lab(std::move(state));
}

Result<> Lab::down() {
  state_->stop_agent_thread();
  state_->owned = false;
  return take_down(state_->id);
}

Result<> Lab::keep() {
  state_->owned = false;
  return write_text(state_->folder + "/kept", "");
}
const std::string& Lab::id() const {
  return state_->id;
}
const std::string& Lab::folder() const {
  return state_->folder;
}
const Topology& Lab::topology() const {
  return state_->topology;
}

std::vector<std::string> Lab::hosts() const {
  std::vector<std::string> hosts{std::string(kClientHost)};
  for (const NodeSpec& node : state_->topology.nodes) hosts.push_back(node.name);
  for (const PodSpec& pod : state_->topology.pods) hosts.push_back(pod.name);
  return hosts;
}

Result<std::string> Lab::netns(const std::string& host) const {
  const PodSpec* pod = state_->topology.find_pod(host);
  if (pod != nullptr && pod->host_network) return netns_name(state_->id, pod->node);
  if (pod != nullptr || state_->topology.find_node(host) != nullptr || host == kClientHost || host == kFabricHost) {
    return netns_name(state_->id, host);
  }
  return fail(Errc::kNotFound, fmt::format("lab {}: there is no host '{}'{}", state_->id, host, there_are(hosts())));
}

bool Lab::agent_alive() const {
  if (state_->agent) return true;
  const auto process = read_process(state_->folder + "/agent.process");
  return process && sys::process_alive(*process);
}

ProbeOutcome Lab::probe(const std::string& from, const Target& target, const ProbeOptions& options) const {
  const auto name = netns(from);
  if (name) return lab::probe(*name, target, options);
  ProbeOutcome outcome;
  outcome.failures[ProbeFailure::kOther] = options.count;
  outcome.last_error = name.error().what;
  return outcome;
}

Result<LongConnection> Lab::connect(const std::string& from, const Target& target, const ProbeOptions& options) const {
  SLUICE_TRY(const std::string name, netns(from));
  return LongConnection::open(name, target, options);
}

Result<Pinger> Lab::ping(const std::string& from, const Target& target, milliseconds interval,
                         const ProbeOptions& options) const {
  SLUICE_TRY(const std::string name, netns(from));
  return Pinger(name, target, interval, options);
}

Result<HttpAnswer> Lab::get(const std::string& host, const sys::SocketAddress& server, const std::string& path,
                            milliseconds timeout) const {
  SLUICE_TRY(const std::string name, netns(host));
  return http_get(name, server, path, timeout);
}

Result<> Lab::run_inside(const std::string& host, const std::function<Result<>()>& body) const {
  SLUICE_TRY(const std::string name, netns(host));
  return sys::in_netns(name, body);
}

Result<sys::CollectedOutcome> Lab::run(const std::string& host, std::vector<std::string> arguments,
                                       std::string_view input, milliseconds timeout) const {
  sys::CollectedOutcome outcome;
  const auto collect = [&]() -> Result<> {
    SLUICE_TRY(outcome, sys::run_and_collect(std::move(arguments), input, timeout));
    return {};
  };
  SLUICE_CHECK_OK(run_inside(host, collect));
  return outcome;
}

Result<sys::ProcessId> Lab::spawn(const SpawnSpec& spec) const {
  SLUICE_TRY(const std::string name, netns(spec.node));
  if (spec.name.empty() || spec.name.find_first_of("./") != std::string::npos) {
    return fail(Errc::kInvalid, fmt::format("lab: '{}' is not a valid name for a program", spec.name));
  }
  const std::string file = fmt::format("{}/{}.{}.process", state_->folder, spec.node, spec.name);
  if (const auto namesake = read_process(file); namesake && sys::process_alive(*namesake)) {
    return fail(Errc::kAlreadyExists, fmt::format("lab: {} already runs on {}", spec.name, spec.node));
  }
  std::vector<std::string> environment = spec.environment;
  environment.push_back(environment_mark(state_->id));
  environment.push_back(fmt::format("XTABLES_LOCKFILE={}/{}.xtables.lock", state_->folder, spec.node));
  SLUICE_TRY(const sys::ProcessId process,
             sys::start_detached({.arguments = spec.arguments,
                                  .netns = name,
                                  .log_file = spec.log_file.empty() ? log_file(spec.node, spec.name) : spec.log_file,
                                  .environment = std::move(environment)}));
  SLUICE_CHECK_OK(write_process(file, process));
  return process;
}

std::string Lab::log_file(const std::string& node, const std::string& name) const {
  return fmt::format("{}/{}.{}.log", state_->folder, node, name);
}

std::vector<LabProcess> Lab::processes() const {
  std::vector<LabProcess> processes;
  std::error_code error;
  for (fs::directory_iterator entry(state_->folder, error), end; !error && entry != end; entry.increment(error)) {
    // "<node>.<name>.process"
    const fs::path& path = entry->path();
    const std::string stem = path.stem().string();
    const std::size_t dot = stem.find('.');
    if (path.extension() != ".process" || dot == std::string::npos || stem.front() == '.') continue;
    const auto process = read_process(path.string());
    if (!process) continue;
    processes.push_back({.node = stem.substr(0, dot),
                         .name = stem.substr(dot + 1),
                         .id = *process,
                         .alive = sys::process_alive(*process),
                         .command = sys::command_line(*process)});
  }
  std::sort(processes.begin(), processes.end(), [](const LabProcess& a, const LabProcess& b) {
    return std::tie(a.node, a.name) < std::tie(b.node, b.name);
  });
  return processes;
}

Result<LabProcess> Lab::process(const std::string& node, const std::string& name) const {
  for (LabProcess& found : processes()) {
    if (found.node == node && found.name == name) return std::move(found);
  }
  return fail(Errc::kNotFound, fmt::format("lab {}: no program {} was started on {}", state_->id, name, node));
}

Result<> Lab::signal(const std::string& node, const std::string& name, int signal) const {
  SLUICE_TRY(const LabProcess found, process(node, name));
  return sys::signal_process(found.id, signal);
}

Result<> Lab::end(const std::string& node, const std::string& name, milliseconds grace) const {
  SLUICE_TRY(const LabProcess found, process(node, name));
  return sys::end_process(found.id, grace);
}

Result<std::vector<std::string>> list_labs() {
  SLUICE_TRY(std::vector<std::string> ids, list_state_folders());
  SLUICE_TRY(const std::vector<std::string> names, sys::list_netns());
  for (const std::string& name : names) {
    // "sluice-<id>-fabric": the namespace that is created first and removed last.
    const std::string prefix = "sluice-";
    const std::string suffix = fmt::format("-{}", kFabricHost);
    if (!name.starts_with(prefix) || !name.ends_with(suffix) || name.size() <= prefix.size() + suffix.size()) continue;
    const std::string id = name.substr(prefix.size(), name.size() - prefix.size() - suffix.size());
    if (good_id(id)) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Result<> take_down(const std::string& id) {
  if (!good_id(id)) return fail(Errc::kInvalid, fmt::format("lab: the id '{}' is not 1 to 20 of a-z and 0-9", id));
  const auto lock = sys::FileLock::take(state_folder(id) + "/lock", kLockTimeout);
  if (!lock && lock.error().code != Errc::kNotFound) return tl::unexpected(lock.error());
  return remove_everything(id);
}

Result<bool> take_down_orphan(const std::string& id) {
  if (!good_id(id)) return fail(Errc::kInvalid, fmt::format("lab: the id '{}' is not 1 to 20 of a-z and 0-9", id));
  const std::string folder = state_folder(id);
  for (int turn = 0; turn < kOwnerWaitTurnsMax && file_exists(folder) && !file_exists(folder + "/owner"); ++turn)
    std::this_thread::sleep_for(milliseconds(1));
  if (has_owner(folder)) return false;
  const auto lock = sys::FileLock::take(folder + "/lock", kLockTimeout);
  if (!lock && lock.error().code != Errc::kNotFound) return tl::unexpected(lock.error());
  // Other processes may have found the same orphan, and made a new lab while we waited.
  if (has_owner(folder)) return false;
  SLUICE_CHECK_OK(remove_everything(id));
  return true;
}

Result<std::vector<std::string>> find_leftovers(const std::string& id) {
  std::vector<std::string> left;
  SLUICE_TRY(const std::vector<std::string> names, list_lab_netns(id));
  for (const std::string& name : names) left.push_back("network namespace " + name);
  SLUICE_TRY(const sys::ProcessMark mark, mark_of(id));
  SLUICE_TRY(const std::vector<sys::ProcessId> processes, sys::find_processes(mark));
  for (const sys::ProcessId& process : processes) {
    left.push_back(fmt::format("process {} ({})", process.pid, sys::command_line(process)));
  }
  SLUICE_TRY(const bool groups, sys::cgroup_exists(cluster_cgroup(id)));
  if (groups) left.push_back("control group " + cluster_cgroup(id));
  if (file_exists(state_folder(id))) left.push_back("folder " + state_folder(id));
  return left;
}

Result<> run_agent(const std::string& folder) {
  SLUICE_TRY(const std::string text, read_text(folder + "/topology"));
  SLUICE_TRY(const Topology topology, decode_topology(text));
  SLUICE_TRY(const std::unique_ptr<Agent> agent, Agent::open(fs::path(folder).filename().string(), topology));
  SLUICE_CHECK_OK(write_text(folder + "/agent.ready", ""));
  return agent->serve();
}

}  // namespace sluice::lab
