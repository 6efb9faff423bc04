// SPDX-License-Identifier: Apache-2.0
// Random plans of Services that claim each other's addresses: where route() says what IPVS can do, the virtual servers
// do it; and where they differ, it is one of the two things that mode ipvs lacks: it cannot drop what a
// policy leaves without an endpoint, nor distinguish clients by their source.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

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
};

Table table_of(const plan::test::RandomPlan& random, Family family) {
  WantedSettings settings;
  settings.family = family;
  NodeAddresses node;
  node.node_ports = {random.node()};
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

void expect_routed(const Table& table, const plan::Packet& packet, const plan::Routing& routing) {
  const VirtualServerKey key = VirtualServerKey::of(packet.protocol, packet.to, packet.port);
  const auto found = table.servers.find(key);
  if (routing.fate == Fate::kNotOurs) {
    ASSERT_EQ(found, table.servers.end());
    return;
  }
  ASSERT_NE(found, table.servers.end());
  ASSERT_EQ(table.owners.at(key), routing.service_port->key);
  const plan::ServicePortPlan& port = *routing.service_port;
  if (routing.frontend.filtered) {
    ASSERT_TRUE(table.filtered.contains(key));
  }
  switch (routing.fate) {
    case Fate::kForward:
      // Policy Local has the local pool for outsiders; pods and the node get the same here.
      if (routing.source != plan::Source::kOutside && !routing.frontend.internal() && port.external.policy_local()) {
        const bool here = port.external.outside.verdict == plan::Verdict::kForward;
        ASSERT_EQ(found->second, pool_of(port, here ? plan::Pool::kLocal : plan::Pool::kCluster));
      } else {
        ASSERT_EQ(found->second, pool_of(port, routing.route.pool));
      }
      break;
    case Fate::kDrop:
      ASSERT_EQ(found->second, pool_of(port, plan::Pool::kCluster));
      break;
    case Fate::kReject:
      ASSERT_EQ(found->second, Servers{});
      break;
    case Fate::kFiltered:
    case Fate::kNotOurs:
      break;
  }
}

TEST(Route, VirtualServersFollowThePlanExceptForIpvssGaps) {
  std::map<Fate, std::size_t> fates;
  for (const Family family : kFamilies) {
    for (const plan::MasqueradePolicy& policy : plan::test::random_policies(family)) {
      for (std::uint64_t seed = 1; seed <= kPlans; ++seed) {
        plan::test::RandomPlan random(seed, family, policy);
        const Table table = table_of(random, family);
        for (int i = 0; i < kPackets; ++i) {
          const plan::Packet packet = random.packet();
          const plan::Routing routing = plan::route(packet, random.plan(), policy.detector);
          ++fates[routing.fate];
          expect_routed(table, packet, routing);
          ASSERT_FALSE(HasFailure()) << to_string(family) << ", plan " << seed << ", " << packet.from.to_string()
                                     << " to " << join_host_port(packet.to, packet.port) << " "
                                     << to_string(packet.protocol) << ": " << routing.to_string();
        }
      }
    }
  }
  EXPECT_EQ(fates.size(), 5U) << "each fate must be met";
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
