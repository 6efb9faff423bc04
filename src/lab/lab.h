// SPDX-License-Identifier: Apache-2.0
// A running lab: the hosts of a Topology as network namespaces, the servers of its pods, and the programs started on
// its nodes.
//
// Everything that belongs to a lab can be found by its id: namespaces `sluice-<id>-<host>` in /run/netns and the folder
// /run/sluice-lab/<id>. So any process may take any lab down, even after its creator was killed half-way.
//
//   auto lab = Lab::up({.id = unique_id(), .topology = grid_topology({.nodes = 2, .pods_per_node = 2})});
//   auto outcome = lab->probe("client", {Protocol::kTcp, address, 80}, {.count = 10});
//   // ~Lab takes it down.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "lab/probe.h"
#include "lab/topology.h"
#include "sys/detached.h"
#include "sys/process.h"

namespace sluice::lab {

class Agent;

// What runs the pods' servers: a thread of this process, which ends with the Lab object, or a process that outlives us.
enum class AgentKind : unsigned char { kThread, kProcess };

struct LabOptions {
  std::string id;  // 1 to 20 of a-z and 0-9
  Topology topology;
  AgentKind agent = AgentKind::kThread;
  std::string agent_program = {};        // understands `lab agent FOLDER`; empty = this program
  std::function<bool()> cancelled = {};  // polled during up(): if true, up() fails
};

// An id that no other running process has: "t<pid>n<counter>".
std::string unique_id();

// A program on a node.
struct SpawnSpec {
  std::string node;                           // or any other host
  std::string name;                           // unique on its node: "proxy"
  std::vector<std::string> arguments;         // arguments[0] is the program
  std::string log_file = {};                  // appended to; empty = <folder>/<node>.<name>.log
  std::vector<std::string> environment = {};  // "NAME=value", in addition to this process' own
};

struct LabProcess {
  std::string node;
  std::string name;
  sys::ProcessId id;
  bool alive = false;
  std::string command;  // its command line while it runs
};

class Lab {
 public:
  // Up and serving on return. The object owns the lab: its destructor takes it down. On failure nothing is left.
  // Errc::kAlreadyExists if a lab of that id exists or is being made; an orphan is
  // removed first.
  static Result<Lab> up(const LabOptions& options);
  // A handle to a lab made by another process; its destructor leaves the lab alone. Errc::kNotFound if there is
  // none.
  static Result<Lab> open(const std::string& id);
  Lab(Lab&&) noexcept;
  Lab& operator=(Lab&&) = delete;
  ~Lab();

  Result<> down();
  // The destructor will leave the lab alone (a thread agent still ends with this object), and it is not an orphan.
  Result<> keep();

  [[nodiscard]] const std::string& id() const;
  [[nodiscard]] const std::string& folder() const;  // for logs, manifests and the like; removed with the lab
  [[nodiscard]] const Topology& topology() const;
  // The full name of a host's namespace; a host is a node, a pod, "client" or "fabric". Errc::kNotFound for others.
  [[nodiscard]] Result<std::string> netns(const std::string& host) const;
  [[nodiscard]] std::vector<std::string> hosts() const;  // client, nodes, pods
  [[nodiscard]] bool agent_alive() const;

  // Clients that run on a host (see probe.h). A host that does not exist counts as failures of kind
  // kOther.
  [[nodiscard]] ProbeOutcome probe(const std::string& from, const Target& target,
                                   const ProbeOptions& options = {}) const;
  [[nodiscard]] Result<LongConnection> connect(const std::string& from, const Target& target,
                                               const ProbeOptions& options = {}) const;
  [[nodiscard]] Result<Pinger> ping(const std::string& from, const Target& target, std::chrono::milliseconds interval,
                                    const ProbeOptions& options = {}) const;
  [[nodiscard]] Result<HttpAnswer> get(const std::string& host, const sys::SocketAddress& server,
                                       const std::string& path,
                                       std::chrono::milliseconds timeout = std::chrono::milliseconds(2000)) const;

  // Runs `body` with the calling thread inside the host's namespace.
  Result<> run_inside(const std::string& host, const std::function<Result<>()>& body) const;
  // Runs a program there and waits for it.
  Result<sys::CollectedOutcome> run(const std::string& host, std::vector<std::string> arguments,
                                    std::string_view input = {},
                                    std::chrono::milliseconds timeout = std::chrono::minutes(1)) const;
  // Starts a program there that runs until it is ended, at the latest by down(). It gets SLUICE_LAB=<id> and, for
  // iptables-legacy, its node's own XTABLES_LOCKFILE in its environment. Errc::kAlreadyExists while its namesake
  // is running.
  Result<sys::ProcessId> spawn(const SpawnSpec& spec) const;
  [[nodiscard]] std::string log_file(const std::string& node, const std::string& name) const;  // the default one
  [[nodiscard]] std::vector<LabProcess> processes() const;
  [[nodiscard]] Result<LabProcess> process(const std::string& node, const std::string& name) const;
  Result<> signal(const std::string& node, const std::string& name, int signal) const;
  // SIGTERM, SIGKILL after `grace`; waits for the end.
  Result<> end(const std::string& node, const std::string& name,
               std::chrono::milliseconds grace = std::chrono::seconds(5)) const;

 private:
  struct State;
  explicit Lab(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

Result<std::vector<std::string>> list_labs();  // ids, also of incomplete labs
// Ends every process of the lab, removes its namespaces and its folder. Succeeds if there is nothing.
Result<> take_down(const std::string& id);
// An orphan is a lab whose creator has ended, usually killed, and neither took it down nor kept it. Takes it down if it
// is one, and everything else with its id. False if it has an owner, or is being made.
Result<bool> take_down_orphan(const std::string& id);
// What is left of a lab, one line each: namespaces, processes, the folder.
Result<std::vector<std::string>> find_leftovers(const std::string& id);
// The body of `sluice lab agent FOLDER`: serves the pods of the lab whose folder it is, until it is ended.
Result<> run_agent(const std::string& folder);

}  // namespace sluice::lab
