// SPDX-License-Identifier: Apache-2.0
// The programs of a cluster and what they read, as text; nothing here touches the machine.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "lab/topology.h"

namespace sluice::lab {

struct ClusterNode {
  std::string name;
  std::vector<IpAddress> addresses;  // one of each family
  std::vector<Cidr> pods;            // its pods' addresses, of the families in the same order
};

struct ClusterPlan {
  std::string id;        // of the lab
  std::string folder;    // for everything below
  std::string programs;  // folder of Kubernetes' programs
  NodeSpec master;       // runs the control plane, but no pods
  std::vector<ClusterNode> nodes;
};

inline constexpr unsigned kClusterNodesMax = 3;
// Both families, as Kubernetes' programs take them.
inline constexpr std::string_view kClusterServices = "10.96.0.0/12,fd00:10:96::/112";
inline constexpr std::string_view kClusterPods = "10.244.0.0/16,fd00:10:244::/48";
inline constexpr std::string_view kClusterDns = "10.96.0.10";

// The walkthrough's hosts, k8s-master and k8s-node1 ...: their addresses, and those of their pods.
ClusterPlan plan_cluster(const std::string& id, const std::string& lab_folder, unsigned nodes);
Topology cluster_topology(unsigned nodes);

// Who may talk to the API server.
struct ClusterUser {
  std::string file;  // its kubeconfig is <file>.kubeconfig
  std::string name;
  std::string group;  // may be empty
  std::string token;
};
std::vector<ClusterUser> cluster_users(const ClusterPlan& plan);  // without tokens
std::string tokens_file(const std::vector<ClusterUser>& users);
std::string kubeconfig(const ClusterPlan& plan, const ClusterUser& user);

struct ClusterProgram {
  std::string name;
  std::vector<std::string> arguments;
};
ClusterProgram etcd_program(const ClusterPlan& plan);
ClusterProgram api_server_program(const ClusterPlan& plan);
std::vector<ClusterProgram> controller_programs(const ClusterPlan& plan);
// Alternative names in the API server's certificate, as openssl(1) takes them.
std::string api_server_names(const ClusterPlan& plan);

// (name, content) of the files of a node, below its folder.
std::vector<std::pair<std::string, std::string>> node_files(const ClusterPlan& plan, const ClusterNode& node);
std::string node_folder(const ClusterPlan& plan, const ClusterNode& node);
// Becomes the first process of the node, in namespaces of its own, and runs what the node runs.
ClusterProgram node_program(const ClusterPlan& plan, const ClusterNode& node);

// What kubeadm makes besides: the ConfigMap of kube-proxy, who it is and what it may do; the cluster's DNS.
std::string base_objects(const ClusterPlan& plan);

// The control group that all of a lab's are in.
std::string cluster_cgroup(std::string_view id);

}  // namespace sluice::lab
