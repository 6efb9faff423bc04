// SPDX-License-Identifier: Apache-2.0
// A real Kubernetes in a lab: etcd, kube-apiserver and its controllers on the host k8s-master; a containerd and a kubelet
// on each of k8s-node1 ..., whose pods have networks by CNI plug-ins. No Service proxy: that is up to its users.
//
// Nothing is downloaded. What it runs is in two folders, below that for what is built once per machine
// (tools/setup/cluster.sh fills them): kubernetes-<version>/bin and cluster/images.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "lab/lab.h"

namespace sluice::lab {

struct ClusterOptions {
  std::string id;
  unsigned nodes = 2;                                   // 1 to kClusterNodesMax
  std::vector<std::string> images = {};                 // archives, in addition to those of the cache
  std::string agent_program = {};                       // as LabOptions has it
  std::function<bool()> cancelled = {};                 // polled
  std::function<void(std::string_view)> progress = {};  // called with each thing that is done
};

// Every node is ready on return. On failure nothing is left.
Result<Lab> start_cluster(const ClusterOptions& options);
// The commands by which these run: kubectl with an administrator's rights; a program as on the node itself, with its
// mounts and processes. Errc::kNotFound if the lab is no cluster, or has no such node.
Result<std::vector<std::string>> kubectl_command(const Lab& lab, const std::vector<std::string>& arguments);
Result<std::vector<std::string>> node_command(const Lab& lab, const std::string& node,
                                              const std::vector<std::string>& command);

// The folder for what is built once per machine: $SLUICE_CACHE, $XDG_CACHE_HOME/sluice, or ~/.cache/sluice.
std::string cache_folder();

}  // namespace sluice::lab
