// SPDX-License-Identifier: Apache-2.0
#include "lab/lab.h"

#include <fmt/format.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "base/data_folder.h"
#include "lab/lab_fixture.h"
#include "lab/network.h"
#include "lab/state.h"
#include "sys/links.h"
#include "sys/netns.h"
#include "sys/state_folder.h"

namespace sluice::lab {
namespace {

using std::chrono::milliseconds;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

TEST_F(LabTest, UpAndDownLeaveNothing) {
  auto lab = up(walkthrough_topology(), AgentKind::kProcess);
  ASSERT_TRUE(lab);
  EXPECT_TRUE(lab->agent_alive());
  EXPECT_THAT(*list_labs(), Contains(lab->id()));
  EXPECT_THAT(*sys::list_netns(), Contains("sluice-" + lab->id() + "-k8s-node1"));
  const auto started = lab->spawn({.node = "k8s-node2", .name = "sleeper", .arguments = {"sleep", "600"}});
  ASSERT_TRUE(started) << started.error().what;
  EXPECT_THAT(*sys::list_links(), testing::Each(testing::ResultOf(is_lab_link, false)))
      << "no part of a lab is in the machine's own namespace";
  const auto inside = lab->run("k8s-node1", {"ip", "-o", "link"});
  EXPECT_THAT(inside->output, testing::ContainsRegex(": cali[0-9a-f]{11}@"));
  const auto down = lab->down();
  ASSERT_TRUE(down) << down.error().what;
  EXPECT_THAT(leftovers(lab->id()), IsEmpty());
  EXPECT_FALSE(sys::process_alive(*started));
  EXPECT_THAT(*list_labs(), Not(Contains(lab->id())));
  EXPECT_THAT(*sys::list_links(), testing::Each(testing::ResultOf(is_lab_link, false)));
  EXPECT_TRUE(take_down(lab->id())) << "taking down what is down succeeds";
}

// A proxy on a node keeps files for a restart, by default below /run/sluice; another data folder is noted in the node's
// kernel.
TEST_F(LabTest, FilesKeptByProxiesAreRemovedWithTheirNamespaces) {
  auto lab = up(grid_topology({.nodes = 2, .pods_per_node = 1}));
  ASSERT_TRUE(lab);
  char name[] = "/tmp/sluice-lab-data-XXXXXX";
  const std::string data_folder = ::mkdtemp(name);
  std::vector<std::string> folders;
  for (const char* node : {"node1", "node2"}) {
    const std::string in = node == std::string("node1") ? kDefaultDataFolder : data_folder;
    ASSERT_TRUE(sys::in_netns(fmt::format("sluice-{}-{}", lab->id(), node), [&]() -> Result<> {
      folders.push_back(sys::state_folder(in));
      std::filesystem::create_directories(folders.back() + "/manifests");
      return in == data_folder ? sys::note_state_folder(folders.back()) : Result<>();
    }));
  }
  ASSERT_TRUE(lab->down());
  for (const std::string& folder : folders) EXPECT_FALSE(std::filesystem::exists(folder)) << folder;
  std::filesystem::remove_all(data_folder);
}

TEST_F(LabTest, TheDestructorTakesTheLabDown) {
  std::string id;
  {
    const auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 1}));
    ASSERT_TRUE(lab);
    id = lab->id();
    EXPECT_THAT(leftovers(id), Not(IsEmpty()));
  }
  EXPECT_THAT(leftovers(id), IsEmpty());
}

TEST_F(LabTest, TwoLabsWithTheSameAddressesDoNotMeet) {
  Topology first = grid_topology({.nodes = 1, .pods_per_node = 1});
  Topology second = first;
  first.pods[0].name = "mine";
  second.pods[0].name = "yours";
  const auto one = up(first);
  auto other = up(second);
  ASSERT_TRUE(one && other);
  EXPECT_TRUE(one->probe("node1", tcp("10.244.1.1", 80), {.count = 5}).answered_by_each({"mine"}));
  EXPECT_TRUE(other->probe("node1", tcp("10.244.1.1", 80), {.count = 5}).answered_by_each({"yours"}));
  ASSERT_TRUE(other->down());
  EXPECT_TRUE(one->probe("node1", tcp("10.244.1.1", 80), {.count = 5}).answered_by_each({"mine"}))
      << "the other's end is not ours";
}

TEST_F(LabTest, ASecondLabOfTheSameIdIsRefusedAndTheFirstLives) {
  const auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 1}));
  ASSERT_TRUE(lab);
  const auto again = Lab::up({.id = lab->id(), .topology = lab->topology()});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::kAlreadyExists);
  EXPECT_TRUE(lab->probe("node1", tcp("10.244.1.1", 80)).all_answered());
}

TEST_F(LabTest, InvalidIdsAreRefused) {
  for (const std::string id : {"", "a-b", "../x", "A", "a.b", "abcdefghijklmnopqrstu"}) {
    const auto lab = Lab::up({.id = id, .topology = grid_topology({.nodes = 1, .pods_per_node = 0})});
    ASSERT_FALSE(lab) << id;
    EXPECT_EQ(lab.error().code, Errc::kInvalid) << id;
    EXPECT_FALSE(take_down(id)) << id;
    EXPECT_FALSE(Lab::open(id)) << id;
  }
}

TEST_F(LabTest, PodsReachEachOtherAcrossNodes) {
  const auto lab = up(grid_topology({.nodes = 2, .pods_per_node = 2}));
  ASSERT_TRUE(lab);
  const struct {
    const char* name;
    const char* from;
    Target target;
    const char* pod;
    const char* seen_as;
  } rows[] = {
      {"tcp, IPv4, other node", "pod1-1", tcp("10.244.2.2", 80), "pod2-2", "10.244.1.1"},
      {"udp, IPv4, other node", "pod1-1", udp("10.244.2.2", 53), "pod2-2", "10.244.1.1"},
      {"tcp, IPv6, other node", "pod1-1", tcp("fd00:10:244:2::2", 80), "pod2-2", "fd00:10:244:1::1"},
      {"udp, IPv6, other node", "pod1-1", udp("fd00:10:244:2::2", 53), "pod2-2", "fd00:10:244:1::1"},
      {"tcp, IPv4, same node", "pod1-1", tcp("10.244.1.2", 80), "pod1-2", "10.244.1.1"},
      {"udp, IPv6, same node", "pod1-1", udp("fd00:10:244:1::2", 53), "pod1-2", "fd00:10:244:1::1"},
      {"from the node itself", "node2", tcp("10.244.2.1", 80), "pod2-1", "192.168.231.12"},
      {"from another node", "node1", udp("10.244.2.1", 53), "pod2-1", "192.168.231.11"},
      {"from another node, IPv6", "node1", tcp("fd00:10:244:2::1", 80), "pod2-1", "fd00:231::11"},
      {"itself", "pod1-1", tcp("10.244.1.1", 80), "pod1-1", "10.244.1.1"},
  };
  for (const auto& row : rows) {
    const ProbeOutcome outcome = lab->probe(row.from, row.target, {.count = 3});
    EXPECT_TRUE(outcome.answered_by_each({row.pod}))
        << row.name << ": " << to_string(outcome) << " " << outcome.last_error;
    EXPECT_THAT(outcome.clients, ElementsAre(ip(row.seen_as))) << row.name;
    EXPECT_THAT(outcome.locals, ElementsAre(row.target.address)) << row.name;
  }
}

TEST_F(LabTest, TheClientReachesNodesButNotPods) {
  Topology topology = grid_topology({.nodes = 2, .pods_per_node = 1});
  topology.pods.push_back({"server", "node2", {}, {{Protocol::kTcp, 6443}, {Protocol::kUdp, 6443}}, true});
  topology.nodes[1].devices = {{"virbr0", ip("192.168.122.1"), 24}};
  const auto lab = up(topology);
  ASSERT_TRUE(lab);
  EXPECT_EQ(*lab->netns("server"), *lab->netns("node2"));
  for (const Target& target : {tcp("192.168.231.12", 6443), tcp("fd00:231::12", 6443), tcp("192.168.122.1", 6443),
                               udp("192.168.231.12", 6443), udp("192.168.122.1", 6443), udp("fd00:231::12", 6443)}) {
    const ProbeOutcome outcome = lab->probe("client", target, {.count = 2});
    EXPECT_TRUE(outcome.answered_by_each({"server"})) << to_string(target) << ": " << outcome.last_error;
    EXPECT_THAT(outcome.locals, ElementsAre(target.address));
  }
  EXPECT_TRUE(lab->probe("client", tcp("10.244.1.1", 80)).all_failed(ProbeFailure::kUnreachable));
}

TEST_F(LabTest, TheClientUsesTheGivenSourceAddress) {
  Topology topology = grid_topology({.nodes = 1, .pods_per_node = 0});
  topology.pods.push_back({"server", "node1", {}, {{Protocol::kTcp, 80}}, true});
  const auto lab = up(topology);
  ASSERT_TRUE(lab);
  for (const char* source : {"192.168.231.200", "192.168.231.201"}) {
    const ProbeOutcome outcome = lab->probe("client", tcp("192.168.231.11", 80), {.source = ip(source)});
    EXPECT_THAT(outcome.clients, ElementsAre(ip(source)));
  }
  EXPECT_THAT(lab->probe("client", tcp("fd00:231::11", 80), {.source = ip("fd00:231::201")}).clients,
              ElementsAre(ip("fd00:231::201")));
}

TEST_F(LabTest, FailuresAreDistinguished) {
  const auto lab = up(grid_topology({.nodes = 2, .pods_per_node = 1}));
  ASSERT_TRUE(lab);
  const ProbeOptions patient{.count = 2};
  const ProbeOptions hasty{.count = 1, .timeout = milliseconds(100)};
  EXPECT_TRUE(lab->probe("pod1-1", tcp("10.244.2.1", 81), patient).all_failed(ProbeFailure::kRefused));
  EXPECT_TRUE(lab->probe("pod1-1", udp("10.244.2.1", 81), patient).all_failed(ProbeFailure::kRefused));
  EXPECT_TRUE(lab->probe("pod1-1", tcp("fd00:10:244:2::1", 81), patient).all_failed(ProbeFailure::kRefused));
  EXPECT_TRUE(lab->probe("node1", tcp("198.51.100.1", 80), hasty).all_failed(ProbeFailure::kTimedOut))
      << "the gateway drops it";
  EXPECT_TRUE(lab->probe("client", tcp("172.16.0.1", 80), patient).all_failed(ProbeFailure::kUnreachable))
      << "no route";
  const ProbeOutcome nowhere = lab->probe("nobody", tcp("10.244.2.1", 80), patient);
  EXPECT_TRUE(nowhere.all_failed(ProbeFailure::kOther));
  EXPECT_THAT(nowhere.last_error, testing::HasSubstr("nobody"));
}

TEST_F(LabTest, DroppedPacketsAreATimeoutInBothProtocols) {
  const auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 1}));
  ASSERT_TRUE(lab);
  const auto rule = lab->run(
      "pod1-1", {"nft", "add table inet t; add chain inet t in { type filter hook input priority 0; policy drop; }"});
  ASSERT_TRUE(rule && rule->exit_status == 0) << rule->error_output;
  const ProbeOptions hasty{.count = 1, .timeout = milliseconds(100)};
  EXPECT_TRUE(lab->probe("node1", tcp("10.244.1.1", 80), hasty).all_failed(ProbeFailure::kTimedOut));
  EXPECT_TRUE(lab->probe("node1", udp("10.244.1.1", 53), hasty).all_failed(ProbeFailure::kTimedOut));
}

TEST_F(LabTest, ALongConnectionEchoesLinesAndEndsWithItsServer) {
  auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 1}), AgentKind::kProcess);
  ASSERT_TRUE(lab);
  auto connection = lab->connect("node1", tcp("10.244.1.1", 80));
  ASSERT_TRUE(connection) << connection.error().what;
  EXPECT_EQ(connection->first_answer().pod, "pod1-1");
  EXPECT_EQ(connection->first_answer().local, (sys::SocketAddress{ip("10.244.1.1"), 80}));
  for (const std::string& line :
       {std::string("one"), std::string("two words"), std::string(), std::string(3000, 'x')}) {
    const auto pod = connection->exchange(line);
    ASSERT_TRUE(pod) << pod.error().what;
    EXPECT_EQ(*pod, "pod1-1");
  }
  auto flow = lab->connect("node1", udp("10.244.1.1", 53));
  ASSERT_TRUE(flow) << flow.error().what;
  EXPECT_EQ(*flow->exchange(), "pod1-1");
  const auto agent = read_process(lab->folder() + "/agent.process");
  ASSERT_TRUE(agent);
  ASSERT_TRUE(sys::end_process(*agent, milliseconds(0)));
  EXPECT_FALSE(connection->exchange());
  EXPECT_FALSE(flow->exchange());
}

TEST_F(LabTest, AClientThatSendsEndlesslyIsDisconnectedAndOthersAreServed) {
  const auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 1}));
  ASSERT_TRUE(lab);
  auto socket = sys::connect_socket({.netns = *lab->netns("node1"),
                                     .to = {ip("10.244.1.1"), 80},
                                     .from = std::nullopt,
                                     .timeout = std::chrono::minutes(1)});
  ASSERT_TRUE(socket);
  const std::string endless(1000, 'x');
  EXPECT_TRUE(eventually([&] { return !sys::send_within(*socket, endless, milliseconds(1000)); }))
      << "a line of any length was taken";
  EXPECT_TRUE(lab->probe("node1", tcp("10.244.1.1", 80)).all_answered());
}

TEST_F(LabTest, ThePingerCountsFailures) {
  const auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 1}));
  ASSERT_TRUE(lab);
  auto good = lab->ping("node1", tcp("10.244.1.1", 80), milliseconds(1));
  auto bad = lab->ping("node1", tcp("10.244.1.1", 81), milliseconds(1));
  ASSERT_TRUE(good && bad);
  ASSERT_TRUE(eventually([&] { return good->report().sent >= 5 && bad->report().sent >= 5; }));
  const Pinger::Report answered = good->stop();
  EXPECT_EQ(answered.failures_total, 0);
  EXPECT_EQ(answered.answers.at("pod1-1"), answered.sent);
  const Pinger::Report refused = bad->stop();
  EXPECT_EQ(refused.failures_total, refused.sent);
  EXPECT_THAT(refused.answers, IsEmpty());
  ASSERT_FALSE(refused.failures.empty());
  EXPECT_EQ(refused.failures.front().reason, ProbeFailure::kRefused);
  EXPECT_EQ(bad->stop().sent, refused.sent) << "it has stopped";
}

TEST_F(LabTest, ProgramsRunOnTheirNodeAndAreFoundAndEnded) {
  const auto lab = up(grid_topology({.nodes = 2, .pods_per_node = 0}));
  ASSERT_TRUE(lab);
  const SpawnSpec spec{
      .node = "node2",
      .name = "teller",
      .arguments = {"sh", "-c", "ip -o addr show eth0; echo $SLUICE_LAB $WORD $XTABLES_LOCKFILE; exec sleep 600"},
      .log_file = {},
      .environment = {"WORD=spoken"}};
  const auto started = lab->spawn(spec);
  ASSERT_TRUE(started) << started.error().what;
  const std::string log = lab->log_file("node2", "teller");
  ASSERT_TRUE(eventually([&] {
    const auto text = read_text(log);
    return text && text->find("xtables.lock") != std::string::npos;
  }));
  EXPECT_THAT(*read_text(log), testing::HasSubstr("192.168.231.12/24"));
  EXPECT_THAT(*read_text(log), testing::HasSubstr(lab->id() + " spoken " + lab->folder() + "/node2.xtables.lock\n"));
  const auto again = lab->spawn(spec);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::kAlreadyExists);
  const auto seen = Lab::open(lab->id());
  ASSERT_TRUE(seen) << seen.error().what;
  EXPECT_EQ(seen->topology(), lab->topology());
  const auto found = seen->process("node2", "teller");
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_TRUE(found->alive);
  EXPECT_EQ(found->id, *started);
  ASSERT_TRUE(lab->end("node2", "teller"));
  EXPECT_FALSE(lab->process("node2", "teller")->alive);
  EXPECT_TRUE(lab->spawn(spec)) << "its namesake has ended";
  EXPECT_EQ(lab->process("node1", "teller").error().code, Errc::kNotFound);
}

TEST_F(LabTest, SettingsOfTheHostsStayInTheirNamespaces) {
  const auto forwarding = read_text("/proc/sys/net/ipv4/ip_forward");
  const auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 1}));
  ASSERT_TRUE(lab);
  EXPECT_EQ(*read_text("/proc/sys/net/ipv4/ip_forward"), *forwarding);
  const auto in_node =
      lab->run("node1", {"cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding",
                         "/proc/sys/net/ipv4/conf/eth0/rp_filter"});
  ASSERT_TRUE(in_node);
  EXPECT_EQ(in_node->output, "1\n1\n2\n");
}

TEST_F(LabTest, ALabWhoseCreatorWasKilledIsTakenDown) {
  // Killed at the first sign of it, in the middle, and when everything but the agent exists.
  for (const std::size_t namespaces : {1U, 60U, 122U}) {
    const std::string id = fresh_id();
    const auto maker = large_lab_in_the_making(id, namespaces);
    ASSERT_TRUE(maker);
    ASSERT_TRUE(sys::signal_process(*maker, SIGKILL));
    ASSERT_TRUE(eventually([&] { return !sys::process_alive(*maker); }));
    EXPECT_THAT(leftovers(id), Not(IsEmpty()));
    const auto down = take_down(id);
    ASSERT_TRUE(down) << down.error().what;
    EXPECT_THAT(leftovers(id), IsEmpty()) << namespaces;
  }
}

TEST_F(LabTest, AnOrphanIsReplacedByALabOfItsId) {
  for (const std::size_t namespaces : {1U, 60U}) {
    const std::string id = fresh_id();
    const auto maker = large_lab_in_the_making(id, namespaces);
    ASSERT_TRUE(maker);
    const auto busy = take_down_orphan(id);
    ASSERT_TRUE(busy) << busy.error().what;
    EXPECT_FALSE(*busy) << "its maker is alive";
    ASSERT_TRUE(sys::signal_process(*maker, SIGKILL));
    ASSERT_TRUE(eventually([&] { return !sys::process_alive(*maker); }));
    const auto next = Lab::up({.id = id, .topology = grid_topology({.nodes = 1, .pods_per_node = 1})});
    ASSERT_TRUE(next) << next.error().what;
    EXPECT_EQ(list_lab_netns(id)->size(), 4U) << "a node, a pod, the client, the fabric: nothing of the orphan";
    EXPECT_TRUE(next->probe("node1", tcp("10.244.1.1", 80)).all_answered());
  }
}

TEST_F(LabTest, AKeptLabIsNoOrphan) {
  const std::string id = fresh_id();
  const auto maker = sys::run_and_collect({SLUICE_LAB_TOOL, "lab", "up", "--id", id, "--topology", "1x1"});
  ASSERT_TRUE(maker && maker->exit_status == 0) << maker->error_output;
  const auto again = Lab::up({.id = id, .topology = grid_topology({.nodes = 1, .pods_per_node = 0})});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::kAlreadyExists);
  EXPECT_TRUE(Lab::open(id)->probe("node1", tcp("10.244.1.1", 80)).all_answered());
}

TEST_F(LabTest, OneOfTwoCreatorsOfTheSameIdWins) {
  const std::string id = fresh_id();
  const Topology topology = grid_topology({.nodes = 2, .pods_per_node = 2});
  std::vector<Result<Lab>> made;
  std::vector<std::thread> makers;
  std::mutex mutex;
  for (int i = 0; i < 4; ++i) {
    makers.emplace_back([&] {
      auto lab = Lab::up({.id = id, .topology = topology});
      const std::lock_guard lock(mutex);
      made.push_back(std::move(lab));
    });
  }
  for (std::thread& maker : makers) maker.join();
  EXPECT_EQ(std::count_if(made.begin(), made.end(), [](const auto& lab) { return static_cast<bool>(lab); }), 1);
  EXPECT_TRUE(Lab::open(id)->probe("node1", tcp("10.244.2.2", 80)).all_answered());
}

TEST_F(LabTest, ALabWhoseAgentWasKilledIsTakenDown) {
  auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 1}), AgentKind::kProcess);
  ASSERT_TRUE(lab);
  const auto agent = read_process(lab->folder() + "/agent.process");
  ASSERT_TRUE(agent);
  ASSERT_TRUE(sys::signal_process(*agent, SIGKILL));
  ASSERT_TRUE(eventually([&] { return !lab->agent_alive(); }));
  EXPECT_TRUE(lab->probe("node1", tcp("10.244.1.1", 80)).all_failed(ProbeFailure::kRefused));
  ASSERT_TRUE(lab->down());
  EXPECT_THAT(leftovers(lab->id()), IsEmpty());
}

TEST_F(LabTest, AProgramWithoutARecordIsEndedToo) {
  auto lab = up(grid_topology({.nodes = 1, .pods_per_node = 0}));
  ASSERT_TRUE(lab);
  // Like `ip netns exec` from a terminal, or a daemon's child.
  const auto stranger = sys::start_detached(
      {.arguments = {"sleep", "600"}, .netns = *lab->netns("node1"), .log_file = {}, .environment = {}});
  ASSERT_TRUE(stranger);
  ASSERT_TRUE(lab->down());
  EXPECT_FALSE(sys::process_alive(*stranger));
}

TEST_F(LabTest, AnAgentThatCannotStartLeavesNoLab) {
  const std::string id = fresh_id();
  const auto lab = Lab::up({.id = id,
                            .topology = grid_topology({.nodes = 1, .pods_per_node = 1}),
                            .agent = AgentKind::kProcess,
                            .agent_program = "/bin/false"});
  ASSERT_FALSE(lab);
  EXPECT_EQ(lab.error().code, Errc::kUnavailable);
  EXPECT_THAT(leftovers(id), IsEmpty());
}

}  // namespace
}  // namespace sluice::lab
