// SPDX-License-Identifier: Apache-2.0
// Random plans of Services that claim each other's addresses, and random packets: what mode ipvs does with a packet is
// what plan::route() says, or else a Gap that capabilities() declares is the reason. Every declared Gap must be met, so
// one that is declared for nothing fails, as does a packet that no Gap explains.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>

#include "dataplane/ipvs/test_world.h"
#include "dataplane/ipvs/wanted.h"
#include "plan/test_random_plan.h"

namespace sluice::dataplane::ipvs {
namespace {

using plan::Fate;
using Servers = std::set<std::string>;

constexpr std::uint64_t kPlans = 60;
constexpr int kPackets = 60;

// All that the plan wants, by virtual server; one that two Service ports want is a failure.
struct Table {
  std::map<VirtualServerKey, Servers> servers;
  std::map<VirtualServerKey, plan::ServicePortKey> owners;
  std::set<VirtualServerKey> filtered;
  std::set<VirtualServerKey> unmasqueraded;  // the helper rules keep every client's source
};

IpAddress loopback(Family family) {
  return ip(family == Family::kIPv4 ? "127.0.0.1" : "::1");
}

Table table_of(const plan::test::RandomPlan& random, Family family) {
  WantedSettings settings;
  settings.family = family;
  NodeAddresses node;
  node.node_ports = {random.node(), loopback(family)};
  Table table;
  for (const plan::ServicePortPlanPtr& port : random.ports()) {
    const WantedPort wanted = wanted_of(*port, settings, node);
    EXPECT_THAT(wanted.refusals, testing::IsEmpty());
    for (const WantedVirtualServer& each : wanted.virtual_servers) {
      EXPECT_TRUE(table.owners.emplace(each.server.key, port->key).second) << sluice::ipvs::to_string(each.server.key);
      Servers& servers = table.servers[each.server.key];
      for (const auto& [server, weight] : *each.real_servers) servers.insert(sluice::ipvs::to_string(server));
    }
    for (const ServedAddress& each : wanted.elements.firewalled) {
      table.filtered.insert(VirtualServerKey::of(each.protocol, each.address, each.port));
    }
    for (const ServedAddress& each : wanted.elements.unmasqueraded) {
      table.unmasqueraded.insert(VirtualServerKey::of(each.protocol, each.address, each.port));
    }
    for (const NodePort& each : wanted.elements.unmasqueraded_node_ports) {
      for (const IpAddress& address : node.node_ports)
        table.unmasqueraded.insert(VirtualServerKey::of(each.protocol, address, each.port));
    }
  }
  return table;
}

Servers pool_of(const plan::ServicePortPlan& port, plan::Pool pool) {
  Servers servers;
  for (const plan::RealServer& server : port.real_servers) {
    if (server.in(pool)) servers.insert(sluice::ipvs::to_string(RealServerKey::of(server.address, server.port)));
  }
  return servers;
}

// Of these, those on this node.
Servers local_among(const Servers& servers, const plan::ServicePortPlan& port) {
  Servers local;
  for (const plan::RealServer& server : port.real_servers) {
    const std::string name = sluice::ipvs::to_string(RealServerKey::of(server.address, server.port));
    if (server.on_this_node && servers.contains(name)) local.insert(name);
  }
  return local;
}

// Where a packet of an accepted source ends. None at all is a refusal that the client hears of.
using Ends = std::optional<Servers>;  // nothing: silence

Ends ends_by_plan(const plan::Routing& routing) {
  switch (routing.fate) {
    case Fate::kForward:
      return pool_of(*routing.service_port, routing.route.pool);
    case Fate::kDrop:
      return std::nullopt;
    default:
      return Servers{};
  }
}

// ip_vs_xmit.c: "Stopping traffic from loopback address to non-local address". Silence, if that leaves none of some.
Ends ends_by_ipvs(const Servers& servers, const plan::Packet& packet, const plan::ServicePortPlan& port,
                  const sluice::ipvs::Description& engine) {
  if (!packet.from.is_loopback() || engine.serves_loopback_clients) return servers;
  const Servers local = local_among(servers, port);
  return local.empty() && !servers.empty() ? Ends() : Ends(local);
}

// The Gap by which mode ipvs does not do what `routing` asks; nothing: there is none, and it must. What it does instead
// is held to be what the manual says.
std::optional<Gap> gap_of(const Servers& servers, const plan::Packet& packet, const plan::Routing& routing) {
  const plan::ServicePortPlan& port = *routing.service_port;
  if (routing.fate == Fate::kDrop) {
    EXPECT_EQ(servers, pool_of(port, plan::Pool::kCluster)) << "far rather than nowhere";
    return Gap::kDropByPolicy;
  }
  if (routing.fate != Fate::kForward) return std::nullopt;
  // Of every source IPVS does the same: what the plan says of sources outside.
  const bool external_local = !routing.frontend.internal() && port.external.policy_local();
  if (routing.source != plan::Source::kOutside && external_local) {
    const bool here = port.external.outside.verdict == plan::Verdict::kForward;
    const Servers outsiders = pool_of(port, here ? plan::Pool::kLocal : plan::Pool::kCluster);
    EXPECT_EQ(servers, outsiders);
    if (outsiders != pool_of(port, routing.route.pool)) return Gap::kPoolBySource;
  }
  if (packet.from.is_loopback()) {
    EXPECT_EQ(servers, pool_of(port, routing.route.pool));
    return Gap::kSourceFromLoopback;
  }
  return std::nullopt;
}

using Gaps = std::set<Gap>;

// Adds to `met` the Gap that the packet runs into.
void expect_routed(const Table& table, const plan::Packet& packet, const plan::Routing& routing,
                   const sluice::ipvs::Description& engine, Gaps& met) {
  const VirtualServerKey key = VirtualServerKey::of(packet.protocol, packet.to, packet.port);
  const auto found = table.servers.find(key);
  if (routing.fate == Fate::kNotOurs) {
    ASSERT_EQ(found, table.servers.end());
    return;
  }
  ASSERT_NE(found, table.servers.end());
  ASSERT_EQ(table.owners.at(key), routing.service_port->key);
  if (routing.frontend.filtered) {
    ASSERT_TRUE(table.filtered.contains(key));
  }
  if (routing.fate == Fate::kFiltered) return;  // the filter's business, which has tests of its own
  if (engine.needs_helper_rules && routing.fate == Fate::kForward && routing.source == plan::Source::kNode &&
      routing.route.masquerade && table.unmasqueraded.contains(key))
    met.insert(Gap::kMasqueradeOwnPackets);
  const Ends wanted = ends_by_plan(routing);
  const Ends done = ends_by_ipvs(found->second, packet, *routing.service_port, engine);
  if (wanted == done) return;
  const auto gap = gap_of(found->second, packet, routing);
  ASSERT_TRUE(gap) << "nothing explains that IPVS does otherwise";
  met.insert(*gap);
}

// One packet in eight is the node's own, over loopback, to a node port.
plan::Packet packet_of(plan::test::RandomPlan& random, Family family, int number) {
  plan::Packet packet = random.packet();
  if (number % 8 != 0) return packet;
  packet.from = packet.to = loopback(family);
  packet.interface.clear();
  packet.from_node = packet.to_node_ports = true;
  packet.port = static_cast<std::uint16_t>(30080 + number / 8 % 3);
  return packet;
}

struct Met {
  Gaps gaps;
  std::map<Fate, std::size_t> fates;
};

void route_packets(Family family, const plan::MasqueradePolicy& policy, const sluice::ipvs::Description& engine,
                   Met& met) {
  for (std::uint64_t seed = 1; seed <= kPlans; ++seed) {
    plan::test::RandomPlan random(seed, family, policy);
    const Table table = table_of(random, family);
    for (int i = 0; i < kPackets; ++i) {
      const plan::Packet packet = packet_of(random, family, i);
      const plan::Routing routing = plan::route(packet, random.plan(), policy.detector);
      ++met.fates[routing.fate];
      expect_routed(table, packet, routing, engine, met.gaps);
      ASSERT_FALSE(testing::Test::HasFailure())
          << to_string(family) << ", plan " << seed << ", " << packet.from.to_string() << " to "
          << join_host_port(packet.to, packet.port) << " " << to_string(packet.protocol) << ": " << routing.to_string();
    }
  }
}

class Route : public testing::TestWithParam<sluice::ipvs::Description> {};

TEST_P(Route, IsWhatThePlanSaysButForTheDeclaredGaps) {
  Met met;
  for (const Family family : kFamilies) {
    for (const plan::MasqueradePolicy& policy : plan::test::random_policies(family)) {
      route_packets(family, policy, GetParam(), met);
      ASSERT_FALSE(HasFailure());
    }
  }
  EXPECT_EQ(met.fates.size(), 5U) << "each fate must be met";
  World world;
  world.engine.describe(GetParam());
  Gaps declared;
  const auto plane = open_plane(world);
  for (const Limitation& each : plane->capabilities().lacks) declared.insert(each.gap);
  EXPECT_EQ(met.gaps, declared);
}

INSTANTIATE_TEST_SUITE_P(Engines, Route, testing::Values(sluice::ipvs::describe_ip_vs("kernel"), kBareEngine),
                         [](const auto& engine) { return std::string(engine.param.name); });

}  // namespace
}  // namespace sluice::dataplane::ipvs
