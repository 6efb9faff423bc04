// SPDX-License-Identifier: Apache-2.0
#include "lab/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "base/ip_literals.h"
#include "lab/screen.h"
#include "lab/walkthrough_files.h"

namespace sluice::lab {
namespace {

using testing::HasSubstr;

TEST(Topology, TheBuiltInOnesAreValid) {
  for (const char* name : {"walkthrough", "1x0", "1x1", "3x6", "99x10", "5x200"}) {
    const auto topology = topology_by_name(name);
    ASSERT_TRUE(topology) << topology.error().what;
    const auto checked = check_topology(*topology);
    EXPECT_TRUE(checked) << name << ": " << checked.error().what;
    const auto decoded = decode_topology(encode_topology(*topology));
    ASSERT_TRUE(decoded) << name << ": " << decoded.error().what;
    EXPECT_EQ(*decoded, *topology) << name;
  }
}

TEST(Topology, OtherNamesAreRefused) {
  for (const char* name : {"", "x", "3", "3x", "x3", "0x1", "100x1", "1x201", "99x11", "-1x2", "3x6x1", "walk"}) {
    EXPECT_FALSE(topology_by_name(name)) << name;
  }
}

TEST(Topology, TheWalkthroughHasTheOperatorsAddresses) {
  const Topology topology = walkthrough_topology();
  const NodeSpec* node = topology.find_node("k8s-node1");
  ASSERT_NE(node, nullptr);
  EXPECT_THAT(node->addresses, testing::Contains(ip("192.168.231.122")));
  ASSERT_EQ(node->devices.size(), 1U);
  EXPECT_EQ(node->devices[0].address, ip("192.168.122.1"));
  for (const char* address :
       {"10.244.169.149", "10.244.169.156", "10.244.169.161", "10.244.169.163", "10.244.169.165"}) {
    const bool there = std::any_of(topology.pods.begin(), topology.pods.end(), [&](const PodSpec& pod) {
      return pod.node == "k8s-node1" && testing::Matches(testing::Contains(ip(address)))(pod.addresses);
    });
    EXPECT_TRUE(there) << address;
  }
}

TEST(Topology, FaultsAreNamed) {
  const struct {
    const char* name;
    std::function<void(Topology&)> spoil;
    const char* wanted;
  } rows[] = {
      {"no nodes", [](Topology& t) { t.nodes.clear(); }, "no node"},
      {"pod on nowhere", [](Topology& t) { t.pods[0].node = "elsewhere"; }, "elsewhere"},
      {"two hosts of a name", [](Topology& t) { t.pods[0].name = "node1"; }, "two hosts are called node1"},
      {"two hosts of an address", [](Topology& t) { t.pods[0].addresses = {ip("192.168.231.11")}; }, "192.168.231.11"},
      {"a name for the file system", [](Topology& t) { t.pods[0].name = "../etc"; }, "../etc"},
      {"a reserved name", [](Topology& t) { t.pods[0].name = "fabric"; }, "fabric"},
      {"the gateway's address", [](Topology& t) { t.nodes[0].addresses = {ip("192.168.231.1")}; }, "192.168.231.1"},
      {"nodes on two networks", [](Topology& t) { t.nodes[0].addresses = {ip("192.168.1.11")}; }, "not on one network"},
      {"a family that the node lacks", [](Topology& t) { t.nodes[0].addresses.resize(1); }, "IPv6"},
      {"two addresses of a family", [](Topology& t) { t.pods[0].addresses = {ip("10.0.0.1"), ip("10.0.0.2")}; },
       "per family"},
      {"host network with an address", [](Topology& t) { t.pods[0].host_network = true; }, "per family"},
      {"port 0", [](Topology& t) { t.pods[0].ports = {{Protocol::kTcp, 0}}; }, "ports other than 0"},
      {"SCTP", [](Topology& t) { t.pods[0].ports = {{Protocol::kSctp, 80}}; }, "TCP and UDP"},
      {"entry nowhere", [](Topology& t) { t.entry_node = "node9"; }, "node9"},
  };
  for (const auto& row : rows) {
    Topology topology = grid_topology({.nodes = 2, .pods_per_node = 1});
    row.spoil(topology);
    const auto checked = check_topology(topology);
    ASSERT_FALSE(checked) << row.name;
    EXPECT_EQ(checked.error().code, Errc::kInvalid) << row.name;
    EXPECT_THAT(checked.error().what, HasSubstr(row.wanted)) << row.name;
  }
}

TEST(Topology, DamagedTextIsRefusedWithItsLine) {
  for (const char* text : {"node", "node a 1.2.3", "device d 1.2.3.4 24", "pod p n 10.0.0.1 tcp/80",
                           "pod p n 10.0.0.1 tcp/99999 own-network", "pod p n 10.0.0.1 sctp/80 own-network",
                           "range 10.0.0.0", "client x", "what is this"}) {
    const auto decoded = decode_topology(text);
    ASSERT_FALSE(decoded) << text;
    EXPECT_THAT(decoded.error().what, HasSubstr(text));
  }
}

TEST(WalkthroughFiles, AManifestHasTheServiceAndASlicePerFamily) {
  const std::string text = service_manifest(walkthrough_service("shop"), walkthrough_topology());
  for (const char* part :
       {"kind: Service\n", "clusterIP: \"10.100.20.30\"\n", "  - \"fd00:10:96::2030\"\n", "nodePort: 30808\n",
        "  sessionAffinity: ClientIP\n", "kubernetes.io/service-name: shop\naddressType: IPv4\n", "addressType: IPv6\n",
        "addresses: [\"10.244.36.65\"]", "nodeName: k8s-node2", "addresses: [\"fd00:10:244:36::66\"]"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  const std::string single = service_manifest(walkthrough_service("web"), walkthrough_topology());
  EXPECT_THAT(single, testing::Not(HasSubstr("IPv6")));
  EXPECT_THAT(service_manifest(walkthrough_service("kubernetes"), walkthrough_topology()),
              HasSubstr("addresses: [\"192.168.231.121\"]"))
      << "a pod of the host network has its node's address";
  EXPECT_THAT(service_manifest(walkthrough_service("ghost"), walkthrough_topology()), HasSubstr("endpoints: []\n"));
}

TEST(Table, ColumnsAreAligned) {
  EXPECT_EQ(format_table({{"A", "B"}, {"long", "x"}, {"y"}}, " "), " A     B\n long  x\n y\n");
}

}  // namespace
}  // namespace sluice::lab
