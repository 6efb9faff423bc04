// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/wanted.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/test_world.h"

namespace sluice::dataplane::ipvs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

NodeAddresses node_of(const World& world, const WantedSettings& settings = {}, const NodePortAddresses& ports = {}) {
  return node::node_addresses(settings.family, {ports, settings.localhost_node_ports}, world.interfaces,
                              {ip("192.168.0.1")});
}

std::vector<std::string> servers_of(const WantedPort& wanted, const VirtualServerKey& key) {
  std::vector<std::string> found;
  for (const auto& each : wanted.virtual_servers) {
    if (each.server.key != key) continue;
    for (const auto& [server, weight] : *each.real_servers) found.push_back(server.address.to_string());
  }
  return found;
}

std::vector<std::string> keys_of(const WantedPort& wanted) {
  std::vector<std::string> found;
  for (const auto& each : wanted.virtual_servers) found.push_back(sluice::ipvs::to_string(each.server.key));
  return found;
}

// The worked example of the reference, with one of three real servers here.
plan::PortDraft web() {
  plan::PortDraft port = service_port("shop/web", "172.30.10.20");
  port.node_port = 30080;
  port.load_balancer_ips = {ip("192.0.2.80")};
  port.external_ips = {ip("198.51.100.7")};
  port.externally_accessible = true;
  port.uses_local_pool = true;
  add_server(port, "10.180.0.1", 8080, Where::kHere);
  add_server(port, "10.180.1.1", 8080);
  add_server(port, "10.180.2.1", 8080);
  return port;
}

// docs/mode-ipvs.md, "Which real servers".
TEST(WantedRealServers, ByPolicyWithTheClusterAsFallback) {
  const std::vector<std::string> all{"10.180.0.1", "10.180.1.1", "10.180.2.1"};
  const std::vector<std::string> others{"10.180.1.1", "10.180.2.1"};
  const std::vector<std::string> local{"10.180.0.1"};
  struct Row {
    const char* name;
    bool internal_local, external_local, one_here;
    std::vector<std::string> internal, external;
  };
  const Row rows[] = {
      {"both policies Cluster", false, false, true, all, all},
      {"internal Local", true, false, true, local, all},
      {"external Local", false, true, true, all, local},
      {"both Local", true, true, true, local, local},
      {"internal Local, none here", true, false, false, others, others},
      {"external Local, none here", false, true, false, others, others},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    plan::PortDraft port = web();
    port.internal_local = row.internal_local;
    port.external_local = row.external_local;
    if (!row.one_here) port.real_servers.erase(port.real_servers.begin());
    const WantedPort wanted = wanted_of(planned(port), {}, node_of(World()));
    EXPECT_EQ(servers_of(wanted, tcp("172.30.10.20", 80)), row.internal);
    EXPECT_EQ(servers_of(wanted, tcp("192.0.2.80", 80)), row.external);
    EXPECT_EQ(servers_of(wanted, tcp("198.51.100.7", 80)), row.external);
    EXPECT_EQ(servers_of(wanted, tcp("192.168.0.2", 30080)), row.external);
  }
}

TEST(WantedRealServers, InternalLocalWithoutAClusterPoolHasNone) {
  plan::PortDraft port = service_port("shop/web", "172.30.10.20");
  port.internal_local = true;
  port.uses_cluster_pool = false;
  const WantedPort wanted = wanted_of(planned(port), {}, node_of(World()));
  EXPECT_THAT(keys_of(wanted), ElementsAre("TCP 172.30.10.20:80"));
  EXPECT_THAT(servers_of(wanted, tcp("172.30.10.20", 80)), IsEmpty());
}

TEST(WantedVirtualServers, ExistWithoutRealServersOnEveryAddress) {
  plan::PortDraft port = web();
  port.real_servers.clear();
  WantedSettings settings;
  settings.localhost_node_ports = true;
  const WantedPort wanted = wanted_of(planned(port), settings, node_of(World(), settings));
  EXPECT_THAT(keys_of(wanted),
              UnorderedElementsAre("TCP 172.30.10.20:80", "TCP 198.51.100.7:80", "TCP 192.0.2.80:80",
                                   "TCP 127.0.0.1:30080", "TCP 192.168.0.2:30080", "TCP 192.168.1.2:30080"));
  EXPECT_THAT(wanted.elements.service_addresses,
              UnorderedElementsAre(ip("172.30.10.20"), ip("198.51.100.7"), ip("192.0.2.80")));
}

TEST(WantedVirtualServers, NodePortsAreServedWhereTheConfigurationSays) {
  World world;
  world.interfaces.push_back({kServiceDevice, ip("172.30.0.1"), 32});
  WantedSettings settings;
  EXPECT_THAT(node_of(world, settings).node_ports, ElementsAre(ip("192.168.0.2"), ip("192.168.1.2")));
  settings.localhost_node_ports = true;
  EXPECT_THAT(node_of(world, settings).node_ports, ElementsAre(ip("127.0.0.1"), ip("192.168.0.2"), ip("192.168.1.2")));
  const NodePortAddresses chosen{false, {ip("172.30.0.1"), ip("192.168.1.2")}};
  EXPECT_THAT(node_of(world, settings, chosen).node_ports, ElementsAre(ip("192.168.1.2")))
      << "a Service's address is none of the node's";
  settings.family = Family::kIPv6;
  settings.localhost_node_ports = false;
  EXPECT_THAT(node_of(world, settings).node_ports, ElementsAre(ip("2001:db8::2")))
      << "link-local addresses are left out";
}

TEST(WantedVirtualServers, AffinityIsPersistenceOfTheWholeClient) {
  plan::PortDraft port = service_port("shop/web", "172.30.10.20");
  const VirtualServer without = wanted_of(planned(port), {}, {}).virtual_servers.at(0).server;
  EXPECT_EQ(without.flags, 0u);
  EXPECT_EQ(without.persistence_timeout_s, 0u);
  EXPECT_EQ(without.scheduler, "rr");
  port.affinity_seconds = 10800;
  const VirtualServer with = wanted_of(planned(port), {}, {}).virtual_servers.at(0).server;
  EXPECT_EQ(with.flags, 0x1u);
  EXPECT_EQ(with.persistence_timeout_s, 10800u);
  EXPECT_EQ(with.persistence_mask, 0xffffffffu);
  plan::PortDraft six = service_port("shop/web", "fd00::20");
  six.affinity_seconds = 60;
  EXPECT_EQ(wanted_of(planned(six), {}, {}).virtual_servers.at(0).server.persistence_mask, 128u);
}

TEST(WantedVirtualServers, WeightsAndMasquerading) {
  plan::PortDraft port = web();
  port.real_servers[1].weight = 7;
  port.real_servers[2].weight = 0;
  const WantedPort wanted = wanted_of(planned(port), {}, {});
  const RealServers& servers = *wanted.virtual_servers.at(0).real_servers;
  ASSERT_EQ(servers.size(), 3u);
  EXPECT_THAT((std::vector<int>{servers[0].second, servers[1].second, servers[2].second}), ElementsAre(1, 7, 0));
  EXPECT_EQ(to_real_server(servers[1]).method, sluice::ipvs::ForwardMethod::kMasquerade);
}

TEST(WantedAnnotations, OverrideTheConfigurationOrAreReported) {
  WantedSettings settings;
  settings.scheduler = {"lc", 0};
  settings.drain_timeout = std::chrono::seconds(60);
  settings.missing_schedulers = {"twos"};
  struct Row {
    const char* name;
    std::map<std::string, std::string> annotations;
    const char* scheduler;
    std::uint32_t flags;
    std::int64_t drain_s;
    const char* complaint;
  };
  const Row rows[] = {
      {"none", {}, "lc", 0, 60, nullptr},
      {"a scheduler", {{"sluice.dev/scheduler", "sh,sh-port"}}, "sh", 0x10, 60, nullptr},
      {"a drain timeout", {{"sluice.dev/drain-timeout", "5m"}}, "lc", 0, 300, nullptr},
      {"no drain", {{"sluice.dev/drain-timeout", "0"}}, "lc", 0, 0, nullptr},
      {"a bad scheduler",
       {{"sluice.dev/scheduler", "fastest!"}},
       "lc",
       0,
       60,
       "'fastest!' is not the name of a scheduler; using lc"},
      {"a bad timeout", {{"sluice.dev/drain-timeout", "soon"}}, "lc", 0, 60, "'soon' is not a duration"},
      {"a scheduler that the kernel lacks",
       {{"sluice.dev/scheduler", "twos"}},
       "rr",
       0,
       60,
       "'twos' is not known here"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    plan::PortDraft port = service_port("shop/web", "172.30.10.20");
    port.sluice_annotations = row.annotations;
    const WantedPort wanted = wanted_of(planned(port), settings, {});
    EXPECT_EQ(wanted.virtual_servers.at(0).server.scheduler, row.scheduler);
    EXPECT_EQ(wanted.virtual_servers.at(0).server.flags, row.flags);
    EXPECT_EQ(wanted.virtual_servers.at(0).drain_timeout, std::chrono::seconds(row.drain_s));
    if (row.complaint == nullptr) {
      EXPECT_THAT(wanted.bad_annotations, IsEmpty());
    } else {
      EXPECT_THAT(wanted.bad_annotations, ElementsAre(HasSubstr(row.complaint)));
    }
  }
}

TEST(WantedElements, MasqueradingFollowsTheExternalPolicy) {
  plan::PortDraft port = web();
  const ServedAddress external{ip("198.51.100.7"), Protocol::kTcp, 80};
  const ServedAddress balanced{ip("192.0.2.80"), Protocol::kTcp, 80};
  const WantedPort cluster = wanted_of(planned(port), {}, {});
  EXPECT_THAT(cluster.elements.cluster_ips, ElementsAre(ServedAddress{ip("172.30.10.20"), Protocol::kTcp, 80}));
  EXPECT_THAT(cluster.elements.masqueraded, UnorderedElementsAre(external, balanced));
  EXPECT_THAT(cluster.elements.unmasqueraded, IsEmpty());
  EXPECT_THAT(cluster.elements.masqueraded_node_ports, ElementsAre(NodePort{Protocol::kTcp, 30080}));
  EXPECT_THAT(cluster.elements.local_real_servers, ElementsAre(ip("10.180.0.1")));
  port.external_local = true;
  port.health_check_node_port = 32123;
  const WantedPort local = wanted_of(planned(port), {}, {});
  EXPECT_THAT(local.elements.masqueraded, IsEmpty());
  EXPECT_THAT(local.elements.unmasqueraded, UnorderedElementsAre(external, balanced));
  EXPECT_THAT(local.elements.masqueraded_node_ports, IsEmpty());
  EXPECT_THAT(local.elements.unmasqueraded_node_ports, ElementsAre(NodePort{Protocol::kTcp, 30080}));
  EXPECT_THAT(local.elements.health_check_ports, ElementsAre(32123));
}

TEST(WantedElements, SourceRangesGuardLoadBalancerAddressesAlone) {
  plan::PortDraft port = web();
  port.source_ranges = {cidr("203.0.113.0/25"), cidr("192.168.0.0/24")};
  const ServedAddress balanced{ip("192.0.2.80"), Protocol::kTcp, 80};
  EXPECT_THAT(wanted_of(planned(port), {}, {}).elements.firewalled, ElementsAre(balanced));
  EXPECT_THAT(wanted_of(planned(port), {}, {}).elements.source_ranges,
              UnorderedElementsAre(SourceRange{balanced, cidr("203.0.113.0/25")},
                                   SourceRange{balanced, cidr("192.168.0.0/24")}));
  port.node_ip_in_source_ranges = true;
  EXPECT_TRUE(wanted_of(planned(port), {}, {}).elements.source_ranges.contains({balanced, cidr("192.0.2.80/32")}))
      << "the node speaks to the address from the address";
}

TEST(WantedRefusals, AddressesThatTheNodeNeedsAreRefused) {
  WantedSettings settings;
  settings.api_server_addresses = {ip("203.0.113.1"), ip("172.30.0.1")};
  struct Row {
    const char* address;
    const char* reason;
  };
  const Row rows[] = {
      {"192.168.1.2", "192.168.1.2 is an address of this node (eth1)"},
      {"192.168.1.255", "192.168.1.255 is the broadcast address of a network of this node (eth1)"},
      {"192.168.0.1", "192.168.0.1 is a gateway of this node's routes"},
      {"203.0.113.1", "203.0.113.1 is the address of the API server"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.address);
    plan::PortDraft port = service_port("shop/web", "172.30.10.20");
    port.load_balancer_ips = {ip(row.address)};
    port.source_ranges = {cidr("10.0.0.0/8")};
    const WantedPort wanted = wanted_of(planned(port), settings, node_of(World()));
    EXPECT_THAT(keys_of(wanted), ElementsAre("TCP 172.30.10.20:80"));
    EXPECT_THAT(wanted.elements.service_addresses, ElementsAre(ip("172.30.10.20")));
    EXPECT_THAT(wanted.elements.masqueraded, IsEmpty());
    EXPECT_THAT(wanted.elements.firewalled, IsEmpty());
    ASSERT_EQ(wanted.refusals.size(), 1u);
    EXPECT_EQ(wanted.refusals[0].reason, row.reason);
    EXPECT_EQ(wanted.refusals[0].frontend.address, ip(row.address));
  }
}

TEST(WantedRefusals, TheClusterIpOfTheApiServerIsServed) {
  WantedSettings settings;
  settings.api_server_addresses = {ip("172.30.0.1")};
  const WantedPort wanted =
      wanted_of(planned(service_port("default/kubernetes", "172.30.0.1")), settings, node_of(World()));
  EXPECT_THAT(keys_of(wanted), ElementsAre("TCP 172.30.0.1:80"));
  EXPECT_THAT(wanted.refusals, IsEmpty());
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
