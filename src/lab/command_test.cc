// SPDX-License-Identifier: Apache-2.0
#include "lab/command.h"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "lab/lab_fixture.h"
#include "lab/network.h"
#include "lab/state.h"

namespace sluice::lab {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class LabCommand : public LabTest {};

// Runs `body` in a child process whose /run is its own and empty, so that it may act on all labs of the machine.
// Returns the exit status.
int in_private_run(int (*body)()) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", "/run", "tmpfs", 0, nullptr) != 0) {
      ::_exit(100);
    }
    ::_exit(body());
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 200;
}

TEST_F(LabCommand, AllLabsAreRemovedAtOnceWithTheOption) {
  EXPECT_EQ(in_private_run([] {
              const Topology topology = grid_topology({.nodes = 1, .pods_per_node = 0});
              auto one = Lab::up({.id = "one", .topology = topology});
              auto two = Lab::up({.id = "two", .topology = topology});
              if (!one || !two) return 1;
              if (!one->keep() || !two->keep()) return 1;
              if (run_command({"down"}) != 1 || list_labs()->size() != 2) return 2;  // which one?
              if (run_command({"down", "--id", "one"}) != 0 || *list_labs() != std::vector<std::string>{"two"})
                return 3;
              auto three = Lab::up({.id = "three", .topology = topology});
              if (!three || !three->keep()) return 4;
              if (run_command({"down", "--all"}) != 0 || !list_labs()->empty()) return 5;
              return run_command({"down"}) == 0 ? 0 : 6;
            }),
            0);
}

TEST_F(LabCommand, CommandsReportByTheirStatus) {
  const std::string id = fresh_id();
  ASSERT_EQ(run_command({"nonsense"}), 2);
  ASSERT_EQ(run_command({"up", "--id", id, "--topology", "nonsense"}), 2);
  ASSERT_EQ(run_command({"up", "--id", id, "--nodes", "0"}), 2);
  ASSERT_EQ(run_command({"up", "--id", id, "--nodes", "2", "--topology", "1x1"}), 2);
  ASSERT_EQ(run_command({"up", "--id", "no-id"}), 2);
  const auto lab = Lab::up({.id = id, .topology = grid_topology({.nodes = 1, .pods_per_node = 1})});
  ASSERT_TRUE(lab) << lab.error().what;
  EXPECT_EQ(run_command({"probe", "--id", id, "node1", "tcp", "10.244.1.1", "80", "-n", "2"}), 0);
  EXPECT_EQ(run_command({"probe", "--id", id, "node1", "tcp", "10.244.1.1", "81", "-n", "2"}), 1);
  EXPECT_EQ(run_command({"probe", "--id", id, "node1", "sctp", "10.244.1.1", "80"}), 2);
  EXPECT_EQ(run_command({"exec", "--id", id, "node1"}), 2) << "no command";
  EXPECT_EQ(run_command({"exec", "--id", id, "nobody", "--", "true"}), 1);
  EXPECT_EQ(run_command({"status", "--id", "nosuchlab"}), 1);
  EXPECT_EQ(run_command({"up", "--id", id}), 1) << "there is one already";
}

TEST_F(LabCommand, AnUnknownHostOrLabIsNamedOnceWithTheExistingOnes) {
  const std::string id = fresh_id();
  const auto lab = Lab::up({.id = id, .topology = grid_topology({.nodes = 1, .pods_per_node = 1})});
  ASSERT_TRUE(lab) << lab.error().what;
  const std::string unknown =
      fmt::format("sluice lab: lab {}: there is no host 'nobody'; there are client, node1, pod1-1\n", id);
  const auto probe =
      sys::run_and_collect({SLUICE_LAB_TOOL, "lab", "probe", "--id", id, "nobody", "tcp", "10.244.1.1", "80"});
  ASSERT_TRUE(probe) << probe.error().what;
  EXPECT_EQ(probe->exit_status, 1);
  EXPECT_EQ(probe->output, "");
  EXPECT_EQ(probe->error_output, unknown);
  const auto exec = sys::run_and_collect({SLUICE_LAB_TOOL, "lab", "exec", "--id", id, "nobody", "--", "true"});
  ASSERT_TRUE(exec) << exec.error().what;
  EXPECT_EQ(exec->error_output, unknown);
  const auto other = sys::run_and_collect({SLUICE_LAB_TOOL, "lab", "status", "--id", "nosuchlab"});
  ASSERT_TRUE(other) << other.error().what;
  EXPECT_THAT(other->error_output, testing::HasSubstr("there is no lab 'nosuchlab'; there are "));
  EXPECT_THAT(other->error_output, testing::HasSubstr(id));
}

TEST_F(LabCommand, AListOfManyHostsIsCut) {
  const auto lab = Lab::up({.id = fresh_id(), .topology = grid_topology({.nodes = 1, .pods_per_node = 30})});
  ASSERT_TRUE(lab) << lab.error().what;
  const auto netns = lab->netns("nobody");
  ASSERT_FALSE(netns);
  EXPECT_THAT(netns.error().what, testing::EndsWith("pod1-18 and 12 more"));
}

TEST_F(LabCommand, ALabHasTheRequestedNodesAndPods) {
  const std::string id = fresh_id();
  const auto up =
      sys::run_and_collect({SLUICE_LAB_TOOL, "lab", "up", "--id", id, "--nodes", "3", "--pods", "1"}, {}, kPatience);
  ASSERT_TRUE(up && up->exit_status == 0) << up->error_output;
  const auto lab = Lab::open(id);
  ASSERT_TRUE(lab) << lab.error().what;
  EXPECT_EQ(lab->topology(), grid_topology({.nodes = 3, .pods_per_node = 1}));
  EXPECT_TRUE(lab->probe("node3", {Protocol::kTcp, ip("10.244.1.1"), 80}).all_answered());
}

TEST_F(LabCommand, AnInterruptedUpLeavesNothing) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const std::string id = fresh_id();
    const auto maker = large_lab_in_the_making(id, 10);
    ASSERT_TRUE(maker);
    ASSERT_TRUE(sys::signal_process(*maker, signal));
    EXPECT_TRUE(eventually([&] { return !sys::process_alive(*maker); }));
    EXPECT_THAT(leftovers(id), IsEmpty()) << signal;
  }
}

TEST_F(LabCommand, ExecRunsInsideAndReturnsTheStatus) {
  const auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 1}));
  ASSERT_TRUE(lab);
  const auto inside = sys::run_and_collect({SLUICE_LAB_TOOL, "lab", "exec", "--id", lab->id(), "pod1-1", "--", "sh",
                                            "-c", "ip -4 -o addr show eth0; exit 7"});
  ASSERT_TRUE(inside);
  EXPECT_EQ(inside->exit_status, 7);
  EXPECT_THAT(inside->output, HasSubstr("10.244.1.1/32"));

  const struct {
    std::vector<std::string> command;
    int status;
  } rows[] = {{{"ip", "-4", "-o", "addr", "show", "eth0"}, 0},
              {{"sh", "-c", "exit 3"}, 3},
              {{"--", "no-such-program"}, 127},
              {{"--", "/etc"}, 126},
              {{"nosuchprogram"}, 127}};
  for (const auto& row : rows) {
    std::vector<std::string> words{SLUICE_LAB_TOOL, "lab", "exec", "--id", lab->id(), "node1"};
    words.insert(words.end(), row.command.begin(), row.command.end());
    const auto ran = sys::run_and_collect(words);
    ASSERT_TRUE(ran);
    EXPECT_EQ(ran->exit_status, row.status) << row.command.back() << ": " << ran->error_output;
  }
}

TEST_F(LabCommand, ATourWhoseProxiesCrashFailsAndLeavesNothing) {
  const std::string id = fresh_id();
  const auto tour = sys::run_and_collect({SLUICE_LAB_TOOL, "lab", "walkthrough", "--id", id, "--program", "/bin/false"},
                                         {}, kPatience);
  ASSERT_TRUE(tour) << tour.error().what;
  EXPECT_EQ(tour->exit_status, 1);
  EXPECT_THAT(tour->error_output, HasSubstr("has ended"));
  EXPECT_THAT(leftovers(id), IsEmpty());
}

TEST_F(LabCommand, ATourFindsAFreeIdAndLeavesAKeptLabAlone) {
  EXPECT_EQ(in_private_run([] {
              auto kept = Lab::up({.id = "walkthrough", .topology = grid_topology({.nodes = 1, .pods_per_node = 0})});
              if (!kept || !kept->keep()) return 1;
              const auto tour = sys::run_and_collect({SLUICE_LAB_TOOL, "lab", "walkthrough", "--program", "/bin/false"},
                                                     {}, kPatience);
              if (!tour || tour->output.find("lab walkthrough2 is up") == std::string::npos) return 2;
              if (*list_labs() != std::vector<std::string>{"walkthrough"}) return 3;
              return run_command({"down"});
            }),
            0);
}

TEST_F(LabCommand, AnInterruptedTourLeavesNothing) {
  const std::string id = fresh_id();
  // A proxy that never becomes healthy: the tour waits for it.
  const std::string program = fmt::format("{}/waiter{}", testing::TempDir(), ::getpid());
  std::ofstream(program) << "#!/bin/sh\nexec sleep 600\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  const auto tour =
      sys::start_detached({.arguments = {SLUICE_LAB_TOOL, "lab", "walkthrough", "--id", id, "--program", program},
                           .netns = {},
                           .log_file = {},
                           .environment = {}});
  ASSERT_TRUE(tour) << tour.error().what;
  EXPECT_TRUE(eventually([&] { return file_exists(state_folder(id) + "/k8s-node2.proxy.process"); }));
  ASSERT_TRUE(sys::signal_process(*tour, SIGINT));
  EXPECT_TRUE(eventually([&] { return !sys::process_alive(*tour); }));
  EXPECT_THAT(leftovers(id), IsEmpty());
  std::filesystem::remove(program);
}

}  // namespace
}  // namespace sluice::lab
