// SPDX-License-Identifier: Apache-2.0
#include "lab/cluster.h"

#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "lab/cluster_files.h"
#include "lab/lab_fixture.h"
#include "lab/state.h"
#include "sys/cgroups.h"

namespace sluice::lab {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// Programs that stand in for what is built once per machine.
class Cluster : public LabTest {
 protected:
  Cluster() {
    fs::create_directories(programs_);
    fs::create_directories(cache_ + "/cluster/images");
    ::setenv("SLUICE_CACHE", cache_.c_str(), 1);
    for (const char* name : {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"}) {
      program(name, "exec sleep 600");
    }
    program("containerd", "exec sleep 600");
    program("ctr", "exit 0");
    path_ = ::getenv("PATH");
    ::setenv("PATH", (programs_ + ":" + path_).c_str(), 1);
    for (const char* name : {"pause.tar", "dns.tar"}) std::ofstream(cache_ + "/cluster/images/" + name) << "";
  }
  ~Cluster() override {
    ::unsetenv("SLUICE_CACHE");
    ::setenv("PATH", path_.c_str(), 1);
    fs::remove_all(cache_);
  }
  void program(const std::string& name, std::string_view script) const {
    const std::string path = programs_ + "/" + name;
    std::ofstream(path) << "#!/bin/sh\n" << script << "\n";
    fs::permissions(path, fs::perms::owner_all);
  }
  Error failure_of_start(const std::string& id, const std::function<bool()>& cancelled = {}) {
    const auto lab = start_cluster({.id = id, .nodes = 1, .agent_program = SLUICE_LAB_TOOL, .cancelled = cancelled});
    EXPECT_FALSE(lab);
    return lab ? Error{} : lab.error();
  }
  const std::string cache_ = fmt::format("{}cluster{}", testing::TempDir(), ::getpid());
  std::string path_;
  const std::string programs_ = cache_ + "/kubernetes-1.20.2/bin";
};

TEST(ClusterFiles, AreFilledIn) {
  const ClusterPlan plan = plan_cluster("one", "/run/sluice-lab/one", kClusterNodesMax);
  ASSERT_EQ(plan.nodes.size(), kClusterNodesMax);
  EXPECT_THAT(base_objects(plan), Not(HasSubstr("@")));
  std::set<Cidr> networks;
  for (const ClusterNode& node : plan.nodes) {
    EXPECT_EQ(node.addresses.size(), node.pods.size()) << node.name;
    for (const Cidr& range : node.pods) EXPECT_TRUE(networks.insert(range).second) << node.name;
    for (const auto& [name, text] : node_files(plan, node)) {
      EXPECT_THAT(text, Not(testing::ContainsRegex("@[A-Z_]+@"))) << node.name << " " << name;
    }
  }
}

TEST(ClusterFiles, NodesAndTheirPodsHaveBothFamilies) {
  const ClusterPlan plan = plan_cluster("one", "/run/sluice-lab/one", 1);
  std::string all;
  for (const auto& [name, text] : node_files(plan, plan.nodes.front())) all += text;
  EXPECT_THAT(all, HasSubstr("--node-ip=192.168.231.122,fd00:231::122 "));
  EXPECT_THAT(all, HasSubstr(R"("ranges": [[{"subnet": "10.244.169.0/24"}], [{"subnet": "fd00:10:244:169::/64"}]])"));
  EXPECT_THAT(base_objects(plan), HasSubstr("clusterCIDR: 10.244.0.0/16,fd00:10:244::/48\n"));
}

TEST(ClusterFiles, TheTopologyOfEachSizeIsValid) {
  for (unsigned nodes = 1; nodes <= kClusterNodesMax; ++nodes) {
    const Topology topology = cluster_topology(nodes);
    EXPECT_EQ(topology.nodes.size(), 1 + nodes);
    const auto checked = check_topology(topology);
    EXPECT_TRUE(checked) << checked.error().what;
  }
}

TEST(ClusterFiles, EachUserHasALineOfItsOwn) {
  EXPECT_EQ(
      tokens_file({{"admin", "admin", "system:masters", "a1"}, {"kube-scheduler", "system:kube-scheduler", "", "b2"}}),
      "a1,admin,admin,system:masters\nb2,system:kube-scheduler,kube-scheduler\n");
}

TEST_F(Cluster, WhatIsNotBuiltYetIsNamedBeforeAnythingIsMade) {
  fs::remove(programs_ + "/kubelet");
  const std::string id = fresh_id();
  const Error error = failure_of_start(id);
  EXPECT_EQ(error.code, Errc::kNotFound);
  EXPECT_THAT(error.what, HasSubstr(programs_ + "/kubelet; tools/setup/cluster.sh"));
  EXPECT_THAT(leftovers(id), IsEmpty());
}

TEST_F(Cluster, AProgramThatEndsIsNamedWithItsLastWordsAndNothingIsLeft) {
  program("kube-apiserver", "echo this port is taken; exit 1");
  program("kubectl", "exit 1");
  const std::string id = fresh_id();
  const Error error = failure_of_start(id);
  EXPECT_THAT(error.what, HasSubstr("kube-apiserver on k8s-master has ended: this port is taken"));
  EXPECT_THAT(leftovers(id), IsEmpty());
}

TEST_F(Cluster, ANodeHasItsOwnMountsAndNothingOfItIsLeft) {
  program("kubectl", "exit 1");
  const std::string id = fresh_id();
  std::string seen;
  // Once the node's first process is there: what is mounted on the node, and on the machine.
  const Error error = failure_of_start(id, [&] {
    if (!file_exists(state_folder(id) + "/cluster/k8s-node1/first")) return false;
    const auto lab = Lab::open(id);
    const auto command = node_command(*lab, "k8s-node1",
                                      {"sh", "-c", "cat /proc/sys/vm/overcommit_memory; ls /run; cat /proc/1/cmdline"});
    const auto ran = lab->run("k8s-node1", *command);
    seen = ran->output + ran->error_output;
    return true;
  });
  EXPECT_THAT(error.what, HasSubstr("interrupted"));
  EXPECT_THAT(seen, HasSubstr("1\n"));
  EXPECT_THAT(seen, HasSubstr("start.sh"));
  EXPECT_THAT(seen, Not(HasSubstr("netns"))) << "/run is the node's own";
  EXPECT_THAT(leftovers(id), IsEmpty());
}

TEST_F(Cluster, ControlGroupsGoWithTheLab) {
  const auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 0}));
  ASSERT_TRUE(lab);
  ASSERT_TRUE(sys::add_cgroup(cluster_cgroup(lab->id()) + "/k8s-node1/kubepods"));
  EXPECT_THAT(leftovers(lab->id()), testing::Contains("control group " + cluster_cgroup(lab->id())));
  ASSERT_TRUE(take_down(lab->id()));
  EXPECT_THAT(leftovers(lab->id()), IsEmpty());
}

TEST_F(Cluster, KubectlGetsItsArgumentsAsTheyAre) {
  const auto lab = up(cluster_topology(1));
  ASSERT_TRUE(lab);
  const auto kubectl = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {SLUICE_LAB_TOOL, "lab", "cluster", "kubectl", "--id", lab->id()});
    const auto ran = sys::run_and_collect(std::move(arguments));
    return ran ? ran->output + ran->error_output : ran.error().what;
  };
  EXPECT_THAT(kubectl({"get", "pods"}), HasSubstr("is no cluster"));
  fs::create_directories(lab->folder() + "/cluster");
  fs::create_symlink(programs_, lab->folder() + "/cluster/programs");
  program("kubectl", R"(for word in "$KUBECONFIG" "$@"; do echo "<$word>"; done)");
  EXPECT_EQ(kubectl({"exec", "-n", "a", "pod", "--", "ls", "-l", "--", "x y"}),
            fmt::format("<{}/cluster/admin.kubeconfig>\n<exec>\n<-n>\n<a>\n<pod>\n<-->\n<ls>\n<-l>\n<-->\n<x y>\n",
                        lab->folder()));
  EXPECT_THAT(kubectl({"--", "exec", "pod", "--", "ls"}), testing::EndsWith("<exec>\n<pod>\n<-->\n<ls>\n"));
}

}  // namespace
}  // namespace sluice::lab
