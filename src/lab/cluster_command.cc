// SPDX-License-Identifier: Apache-2.0
// `sluice lab cluster ...`
#include <fmt/format.h>

#include <chrono>
#include <cstdio>

#include "lab/cluster.h"
#include "lab/cluster_files.h"
#include "lab/command_words.h"
#include "lab/interrupt.h"

namespace sluice::lab {
namespace {

constexpr const char* kDefaultId = "cluster";

std::string id_of(const Words& words) {
  return words.id.empty() ? kDefaultId : words.id;
}

int run_cluster_up(const Words& words) {
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const InterruptGuard guard;
  auto lab = start_cluster({.id = id_of(words),
                            .nodes = words.cluster_nodes,
                            .images = words.images,
                            .agent_program = words.program,
                            .cancelled = [] { return interrupted() != 0; },
                            .progress =
                                [&elapsed](std::string_view done) {
                                  fmt::print("{:6.1f} s  {}\n", elapsed(), done);
                                  std::fflush(stdout);
                                }});
  if (!lab) return failed_up(lab.error(), "sluice lab cluster up", id_of(words));
  if (const auto kept = lab->keep(); !kept) return failed(kept.error());
  const std::string option = words.id.empty() ? "" : " --id " + words.id;
  fmt::print(
      "cluster {0} is up after {1:.1f} s. It has no Service proxy yet. For example:\n"
      "  sluice lab cluster kubectl{2} apply -k deploy/base\n"
      "  sluice lab cluster kubectl{2} get pods --all-namespaces\n"
      "  sluice lab cluster exec{2} k8s-node1 -- ipvsadm -L -n\n"
      "  sluice lab cluster down{2}\n",
      id_of(words), elapsed(), option);
  return kFine;
}

int run_cluster_down(const Words& words) {
  Words with_id = words;
  with_id.id = id_of(words);
  return run_down(with_id);
}

int run_kubectl(const Words& words) {
  const auto lab = Lab::open(id_of(words));
  if (!lab) return failed(lab.error());
  const auto command = kubectl_command(*lab, words.command);
  if (!command) return failed(command.error());
  return become_on(*lab, lab->topology().nodes.front().name, *command);
}

int run_cluster_exec(const Words& words) {
  if (words.command.empty()) {
    fmt::print(stderr,
               "sluice lab cluster exec: no command; as in `sluice lab cluster exec k8s-node1 -- ipvsadm -L -n`\n");
    return kBadUsage;
  }
  const auto lab = Lab::open(id_of(words));
  if (!lab) return failed(lab.error());
  const auto command = node_command(*lab, words.host, words.command);
  if (!command) return failed(command.error());
  return become_on(*lab, words.host, *command);
}

}  // namespace

std::vector<Subcommand> add_cluster_commands(CLI::App& app, Words& words) {
  CLI::App* cluster = app.add_subcommand("cluster", "a real Kubernetes in a lab: control plane, kubelets, pods");
  cluster->require_subcommand(1);
  CLI::App* up = cluster->add_subcommand("up", "make it and leave it running");
  up->add_option("--nodes", words.cluster_nodes, "nodes for pods, in addition to k8s-master")
      ->capture_default_str()
      ->check(CLI::Range(1U, kClusterNodesMax));
  up->add_option("--image", words.images,
                 "an archive with an image that pods may run, as build/image/sluice.tar; may be repeated")
      ->check(CLI::ExistingFile);
  CLI::App* down = cluster->add_subcommand("down", "remove it, whatever state it is in");
  CLI::App* kubectl = cluster->add_subcommand("kubectl", "run kubectl as its administrator: kubectl [ARGUMENT...]");
  kubectl->prefix_command();
  CLI::App* exec =
      cluster->add_subcommand("exec", "run a command on a node, as one of its programs: exec NODE [--] COMMAND...");
  exec->add_option("NODE", words.host, "k8s-node1 ..., or another host of the lab")->required();
  exec->prefix_command();
  for (CLI::App* with_id : {up, down, kubectl, exec}) {
    with_id
        ->add_option("--id", words.id,
                     fmt::format("the lab's name: up to 20 of a-z and 0-9; {} if none is given", kDefaultId))
        ->check(CLI::Validator(check_id, ""));
  }
  return {{up, run_cluster_up}, {down, run_cluster_down}, {kubectl, run_kubectl, true}, {exec, run_cluster_exec}};
}

}  // namespace sluice::lab
