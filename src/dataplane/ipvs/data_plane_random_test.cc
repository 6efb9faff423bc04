// SPDX-License-Identifier: Apache-2.0
// Any sequence of changes must end where one full sync on an empty node ends, whatever the ports share and whatever
// others change in between. The seed of a failure is printed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "dataplane/ipvs/test_world.h"

namespace sluice::dataplane::ipvs {
namespace {

constexpr int kSteps = 60;
constexpr unsigned kSeeds = 40;

class RandomPorts {
 public:
  explicit RandomPorts(unsigned seed) : random_(seed) {}
  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }

  // Few names, addresses and ports, so that Services share and compete for them.
  plan::PortDraft port(std::uint32_t number) {
    const Protocol protocol = number % 3 == 0 ? Protocol::kUdp : Protocol::kTcp;
    auto port = service_port(fmt::format("shop/s{}", number), fmt::format("172.30.0.{}", number + 1), protocol);
    if (below(2) == 0) port.external_ips.push_back(ip(fmt::format("198.51.100.{}", below(3) + 1)));
    if (below(3) == 0) port.load_balancer_ips.push_back(ip(fmt::format("198.51.100.{}", below(4) + 1)));
    if (below(8) == 0) port.external_ips.push_back(ip("192.168.0.2"));  // refused
    if (below(3) == 0) port.node_port = static_cast<std::uint16_t>(30000 + number);
    if (below(3) == 0) port.source_ranges = {cidr("203.0.113.0/24")};
    if (below(4) == 0) port.affinity_seconds = 60;
    if (below(4) == 0) port.sluice_annotations["sluice.dev/scheduler"] = below(2) == 0 ? "lc" : "twos";
    port.internal_local = below(3) == 0;
    port.external_local = below(3) == 0;
    for (std::uint32_t i = below(4); i > 0; --i) {
      add_server(port, fmt::format("10.2.0.{}", below(6) + 1), 8080, below(2) == 0 ? Where::kHere : Where::kElsewhere);
      port.real_servers.back().weight = static_cast<std::uint16_t>(1 + below(2));
    }
    return port;
  }

 private:
  std::mt19937 random_;
};

// Every virtual server with its settings, and its real servers except those at weight 0.
std::map<std::string, std::vector<std::string>> table_of(World& world) {
  std::map<std::string, std::vector<std::string>> table;
  const auto listed = sluice::ipvs::list_all(world.engine);
  EXPECT_TRUE(listed);
  for (const sluice::ipvs::VirtualServerState& state : *listed) {
    const VirtualServer& server = state.server;
    auto& servers = table[fmt::format("{} {} {} {}", sluice::ipvs::to_string(server.key), server.scheduler,
                                      server.flags, server.persistence_timeout_s)];
    for (const auto& each : state.real_servers) {
      if (each.server.weight != 0)
        servers.push_back(fmt::format("{} w{}", sluice::ipvs::to_string(each.server.key), each.server.weight));
    }
    std::sort(servers.begin(), servers.end());
  }
  return table;
}

void meddle(World& world, RandomPorts& random) {
  const auto listed = sluice::ipvs::list_all(world.engine);
  ASSERT_TRUE(listed);
  if (listed->empty()) return;
  const VirtualServerKey key = (*listed)[random.below(static_cast<std::uint32_t>(listed->size()))].server.key;
  ASSERT_TRUE(world.engine.apply(std::vector<TableChange>{sluice::ipvs::RemoveVirtualServer{key}}));
  if (world.engine.description().needs_helper_rules) return;
  // And a rule of its own, with another's flags.
  const sluice::ipvs::RuleElements rule{{{key, random.below(8)}}, {}, {key.address}};
  ASSERT_TRUE(world.engine.rules().change(key.family, rule, {}));
}

// The detector, so that the rules of cluster IPs say something.
HelperSettings pods_by_prefix() {
  HelperSettings settings;
  settings.masquerade.detector = {plan::LocalDetector::Kind::kCidr, cidr("10.2.0.0/16"), ""};
  return settings;
}

class IpvsDataPlaneRandom : public testing::TestWithParam<sluice::ipvs::Description> {};

TEST_P(IpvsDataPlaneRandom, AnySequenceOfChangesEndsWhereAFullSyncEnds) {
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    RandomPorts random(seed);
    World world;
    world.engine.describe(GetParam());
    auto plane = open_plane(world, {}, pods_by_prefix());
    std::map<std::uint32_t, plan::PortDraft> ports;
    expect_applied(*plane, full({}));
    const auto whole = [&] {
      std::vector<plan::PortDraft> all;
      for (const auto& [number, port] : ports) all.push_back(port);
      return full(all);
    };
    for (int step = 0; step < kSteps; ++step) {
      const std::uint32_t number = random.below(8);
      const auto known = ports.find(number);
      const auto before = known == ports.end() ? nullptr : std::make_unique<plan::PortDraft>(known->second);
      const bool goes = before && random.below(4) == 0;
      if (goes) {
        ports.erase(known);
        expect_applied(*plane, change(before.get(), nullptr));
      } else {
        const auto after = random.port(number);
        ports[number] = after;
        expect_applied(*plane, change(before.get(), &after));
      }
      world.clock.advance(std::chrono::seconds(random.below(5)));
      EXPECT_TRUE(plane->tend());
      if (random.below(15) == 0) {  // a restart
        plane = open_plane(world, {}, pods_by_prefix());
        expect_applied(*plane, whole());
      }
      if (random.below(15) == 0) {
        meddle(world, random);
        expect_applied(*plane, whole());
      }
    }
    const auto difference = plane->compare(whole());
    ASSERT_TRUE(difference);
    EXPECT_TRUE(difference->empty()) << testing::PrintToString(difference->missing)
                                     << testing::PrintToString(difference->unexpected);
    World fresh;
    fresh.engine.describe(GetParam());
    const auto other = open_plane(fresh, {}, pods_by_prefix());
    expect_applied(*other, whole());
    EXPECT_EQ(table_of(world), table_of(fresh));
    EXPECT_EQ(world.bound, fresh.bound);
    EXPECT_EQ(world.elements, fresh.elements);
    EXPECT_EQ(*world.engine.rules().read(Family::kIPv4), *fresh.engine.rules().read(Family::kIPv4));
    EXPECT_EQ(plane->refusals(), other->refusals());
    if (testing::Test::HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, IpvsDataPlaneRandom,
                         testing::Values(sluice::ipvs::describe_ip_vs("kernel"), kBareEngine),
                         [](const auto& engine) { return std::string(engine.param.name); });

}  // namespace
}  // namespace sluice::dataplane::ipvs
