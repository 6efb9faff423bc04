// SPDX-License-Identifier: Apache-2.0
// The command line of the lab. It parses words and sets exit statuses; the work is in lab.h and walkthrough.h.
#include "lab/command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "lab/command_words.h"
#include "lab/interrupt.h"
#include "lab/lab.h"
#include "lab/report.h"
#include "lab/screen.h"
#include "lab/state.h"
#include "lab/walkthrough.h"
#include "sys/netns.h"

namespace sluice::lab {
namespace {

constexpr int kCannotRun = 126;  // for exec, as in a shell: the program exists, but cannot be run
constexpr int kNoProgram = 127;  // it does not exist

// The lab that is meant if no id is given: the only one.
Result<Lab> open_meant(const std::string& id) {
  if (!id.empty()) return Lab::open(id);
  SLUICE_TRY(const std::vector<std::string> ids, list_labs());
  if (ids.empty()) return fail(Errc::kNotFound, "there is no lab; `sluice lab up` makes one");
  if (ids.size() > 1)
    return fail(Errc::kInvalid,
                fmt::format("there are {} labs ({}): choose one by --id", ids.size(), fmt::join(ids, ", ")));
  return Lab::open(ids.front());
}

int run_up(const Words& words) {
  const auto start = std::chrono::steady_clock::now();
  const auto topology =
      topology_by_name(words.nodes == 0 ? words.topology : fmt::format("{}x{}", words.nodes, words.pods));
  if (!topology) return failed(topology.error()), kBadUsage;
  const std::string id = words.id.empty() ? "lab" : words.id;
  const InterruptGuard guard;
  auto lab = Lab::up(
      {.id = id, .topology = *topology, .agent = AgentKind::kProcess, .agent_program = words.program, .cancelled = [] {
         return interrupted() != 0;
       }});
  if (!lab) return failed_up(lab.error(), "sluice lab up", id);
  if (const auto kept = lab->keep(); !kept) return failed(kept.error());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print("lab {} is up: {} nodes, {} pods, {:.2f} s\n\n{}\n", id, topology->nodes.size(), topology->pods.size(),
             took.count(), format_table(host_rows(*topology), "  "));
  fmt::print("  sluice lab exec --id {} {} -- ip route\n  sluice lab down --id {}\n", id, topology->nodes.front().name,
             id);
  return kFine;
}

void print_status(const Lab& lab) {
  fmt::print("lab {}: the pods' servers are {}; folder {}\n\n{}", lab.id(), lab.agent_alive() ? "alive" : "NOT alive",
             lab.folder(), format_table(host_rows(lab.topology()), "  "));
  const Rows processes = process_rows(lab);
  if (processes.size() > 1) fmt::print("\n{}", format_table(processes, "  "));
}

int run_status(const Words& words) {
  std::vector<std::string> ids{words.id};
  if (words.id.empty()) {
    const auto found = list_labs();
    if (!found) return failed(found.error());
    ids = *found;
  }
  if (ids.empty()) fmt::print("there is no lab\n");
  int status = kFine;
  for (const std::string& id : ids) {
    if (const auto lab = Lab::open(id)) {
      print_status(*lab);
      if (!lab->agent_alive()) status = kFailed;
    } else if (!words.id.empty() && !file_exists(state_folder(id))) {
      return failed(lab.error());
    } else {
      fmt::print("lab {}: incomplete; `sluice lab down --id {}` removes it\n", id, id);
      status = kFailed;
    }
  }
  return status;
}

int run_exec(const Words& words) {
  if (words.command.empty()) {
    fmt::print(stderr, "sluice lab exec: no command; as in `sluice lab exec k8s-node1 -- ip route`\n");
    return kBadUsage;
  }
  const auto lab = open_meant(words.id);
  if (!lab) return failed(lab.error());
  return become_on(*lab, words.host, words.command);
}

int run_probe(const Words& words) {
  const auto address = IpAddress::parse(words.address);
  const auto source = words.source.empty() ? std::optional<IpAddress>() : IpAddress::parse(words.source);
  if (!address || (!words.source.empty() && !source)) {
    fmt::print(stderr, "sluice lab probe: '{}' is not an address\n", address ? words.source : words.address);
    return kBadUsage;
  }
  const auto lab = open_meant(words.id);
  if (!lab) return failed(lab.error());
  if (const auto from = lab->netns(words.host); !from) return failed(from.error());  // retrying would not help
  const Target target{words.protocol == "tcp" ? Protocol::kTcp : Protocol::kUdp, *address, words.port};
  const ProbeOutcome outcome =
      lab->probe(words.host, target,
                 {.count = words.count, .timeout = std::chrono::milliseconds(words.timeout_ms), .source = source});
  fmt::print("from {} to {}: {}\n", words.host, to_string(target), to_string(outcome));
  for (const IpAddress& client : outcome.clients)
    fmt::print("  the servers saw the client as {}\n", client.to_string());
  if (!outcome.last_error.empty()) fmt::print("  last error: {}\n", outcome.last_error);
  return outcome.all_answered() ? kFine : kFailed;
}

int run_agent_command(const Words& words) {
  const auto ran = run_agent(words.folder);
  return ran ? kFine : failed(ran.error());
}

int run_walkthrough_command(const Words& words) {
  return run_walkthrough({.id = words.id, .program = words.program, .keep = words.keep, .only_ipvs = words.only_ipvs});
}

std::vector<Subcommand> add_subcommands(CLI::App& app, Words& words) {
  CLI::App* up = app.add_subcommand("up", "make a lab and leave it running");
  CLI::Option* topology =
      up->add_option("--topology", words.topology, "walkthrough, or NODESxPODS (per node) as in 3x6")
          ->capture_default_str();
  CLI::Option* nodes = up->add_option("--nodes", words.nodes, "so many nodes, node1 ..., instead of a topology by name")
                           ->excludes(topology)
                           ->check(CLI::Range(1U, kGridNodesMax));
  up->add_option("--pods", words.pods, "pods on each of them, with --nodes")
      ->capture_default_str()
      ->needs(nodes)
      ->check(CLI::Range(0U, kGridPodsMax));
  CLI::App* down = app.add_subcommand("down", "remove a lab, whatever state it is in");
  down->add_flag("--all", words.all, "every lab of this machine");
  CLI::App* status = app.add_subcommand("status", "hosts, addresses and programs");
  CLI::App* exec = app.add_subcommand("exec", "run a command on a host: exec HOST [--] COMMAND...");
  exec->add_option("HOST", words.host, "a node, a pod or `client`")->required();
  exec->prefix_command();  // what follows HOST and is not our option is the command
  CLI::App* probe_app = app.add_subcommand("probe", "show which pods answer at an address");
  probe_app->add_option("FROM", words.host, "a node, a pod or `client`")->required();
  probe_app->add_option("PROTOCOL", words.protocol, "tcp or udp")->required()->check(CLI::IsMember({"tcp", "udp"}));
  probe_app->add_option("ADDRESS", words.address)->required();
  probe_app->add_option("PORT", words.port)->required();
  probe_app->add_option("-n", words.count, "how many times")->capture_default_str()->check(CLI::Range(1, 1000000));
  probe_app->add_option("--source", words.source, "the client's address");
  probe_app->add_option("--timeout-ms", words.timeout_ms, "of each probe")
      ->capture_default_str()
      ->check(CLI::Range(1U, 600000U));
  CLI::App* walkthrough = app.add_subcommand("walkthrough", "a guided tour: Services, real traffic, changes, a crash");
  walkthrough->add_flag("--keep", words.keep, "leave the lab running at the end");
  walkthrough->add_flag("--only-ipvs", words.only_ipvs,
                        "only the steps of mode ipvs; fails where no engine of it runs");
  walkthrough->add_option("--program", words.program,
                          "run this as `PROGRAM proxy ...` on the nodes; default: this program");
  for (CLI::App* with_id : {up, down, status, exec, probe_app, walkthrough}) {
    with_id->add_option("--id", words.id, "the lab's name: up to 20 of a-z and 0-9")
        ->check(CLI::Validator(check_id, ""));
  }
  CLI::App* agent = app.add_subcommand("agent", "")->group("");  // for our own use: hidden
  agent->add_option("FOLDER", words.folder)->required();
  std::vector<Subcommand> subcommands = add_cluster_commands(app, words);
  subcommands.insert(subcommands.end(), {{up, run_up},
                                         {down, run_down},
                                         {status, run_status},
                                         {exec, run_exec},
                                         {probe_app, run_probe},
                                         {agent, run_agent_command},
                                         {walkthrough, run_walkthrough_command}});
  return subcommands;
}

}  // namespace

int failed(const Error& error) {
  fmt::print(stderr, "sluice lab: {}\n", error.what);
  return kFailed;
}

int failed_up(const Error& error, const std::string& command, const std::string& id) {
  failed(error);
  if (error.code == Errc::kAlreadyExists)
    fmt::print(stderr, "  {} --id ANOTHER\n  sluice lab down --id {}\n", command, id);
  return interrupted() != 0 ? kSignalBase + interrupted() : kFailed;
}

int run_down(const Words& words) {
  std::vector<std::string> ids{words.id};
  if (words.id.empty()) {
    const auto found = list_labs();
    if (!found) return failed(found.error());
    if (found->size() > 1 && !words.all) {
      return failed({Errc::kInvalid,
                     fmt::format("there are {} labs ({}): --id ID or --all", found->size(), fmt::join(*found, ", "))});
    }
    ids = *found;
  }
  int status = kFine;
  for (const std::string& id : ids) {
    const auto before = find_leftovers(id);
    if (const auto down = take_down(id); !down) {
      status = failed(down.error());
    } else if (before && before->empty()) {
      fmt::print("there is no lab {}\n", id);
    } else {
      fmt::print("lab {} is down\n", id);
    }
  }
  if (ids.empty()) fmt::print("there is no lab\n");
  return status;
}

int become_on(const Lab& lab, const std::string& host, const std::vector<std::string>& command) {
  const auto netns = lab.netns(host);
  if (!netns) return failed(netns.error());
  if (const auto entered = sys::enter_netns(*netns); !entered) return failed(entered.error());
  std::fflush(stdout);
  const Error error = sys::become_program(command).error();
  failed(error);
  return error.code == Errc::kNotFound ? kNoProgram : kCannotRun;
}

std::string check_id(const std::string& id) {
  return good_id(id) ? "" : fmt::format("'{}' is not 1 to 20 of a-z and 0-9", id);
}

int run_command(const std::vector<std::string>& arguments) {
  Words words;
  CLI::App app("A cluster in network namespaces on this machine: nodes, pods, a client outside, real traffic",
               "sluice lab");
  app.require_subcommand(1);
  const std::vector<Subcommand> subcommands = add_subcommands(app, words);
  // What follows "--" is another program's command line.
  const auto separator = std::find(arguments.begin(), arguments.end(), "--");
  if (separator != arguments.end()) words.command.assign(separator + 1, arguments.end());
  try {
    app.parse(std::vector<std::string>(std::make_reverse_iterator(separator), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kFine : kBadUsage;
  }
  const std::vector<std::string> extras = app.remaining(true);
  for (const Subcommand& subcommand : subcommands) {
    if (!subcommand.app->parsed()) continue;
    if (subcommand.passes_separator && !extras.empty() && separator != arguments.end())
      words.command.insert(words.command.begin(), "--");
    words.command.insert(words.command.begin(), extras.begin(), extras.end());
    if (::geteuid() != 0) return failed({Errc::kPermission, "only root can make and enter network namespaces"});
    return subcommand.run(words);
  }
  return kBadUsage;
}

}  // namespace sluice::lab
