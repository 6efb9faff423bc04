// SPDX-License-Identifier: Apache-2.0
// Random events, applied one batch after the other, must lead to the plan that a fresh Planner makes of the same
// Snapshot, and the Changes on the way must add up to it. A failure names its seed; SLUICE_TEST_SEED=<seed> runs that
// one alone.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "plan/planner.h"
#include "plan/test_objects.h"

namespace sluice::plan {
namespace {

using namespace test;

constexpr int kBatchesPerSeed = 150;

class RandomCluster {
 public:
  explicit RandomCluster(std::uint64_t seed) : random_(seed) {}

  // Small ranges, so that events meet: few Services, few slices, few addresses.
  model::Update batch() {
    model::Update update;
    for (unsigned events = 1 + below(4); events > 0; --events) {
      switch (below(8)) {
        case 0:
          update.services_removed.push_back(service_key());
          break;
        case 1:
          update.slices_removed.push_back(slice_key());
          break;
        case 2:
        case 3:
          update.services.push_back(service());
          break;
        default:
          update.slices.push_back(slice());
          break;
      }
    }
    return update;
  }

  NodeFacts facts() {
    NodeFacts result;
    if (chance(3)) result.zone = pick({"a", "b", "c"});
    if (chance(2)) result.node_ip[0] = ip(pick({"192.0.2.1", "10.0.0.1"}));
    return result;
  }
  bool chance(unsigned one_in) { return below(one_in) == 0; }

 private:
  unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
  std::string pick(const std::vector<std::string>& from) { return from[below(static_cast<unsigned>(from.size()))]; }
  ObjectKey service_key() { return {"shop", pick({"api", "dns", "web", "queue"})}; }
  ObjectKey slice_key() { return {"shop", pick({"s1", "s2", "s3", "s4", "s5", "s6", "s7"})}; }
  Protocol protocol() { return static_cast<Protocol>(below(3)); }

  model::Service service() {
    model::Service result;
    result.key = service_key();
    if (!chance(3)) result.created = below(3);  // some as old as others
    result.type = static_cast<model::ServiceType>(below(4));
    result.headless = chance(10);
    result.other_proxy = chance(10);
    if (!chance(8)) result.cluster_ips.push_back(ip("10.96.0.1"));
    if (chance(2)) result.cluster_ips.push_back(ip("fd00:96::1"));
    for (unsigned ports = below(4); ports > 0; --ports) {
      const std::uint16_t node_port = chance(2) ? static_cast<std::uint16_t>(30000 + below(5)) : std::uint16_t{0};
      result.ports.push_back(
          service_port(pick({"", "p", "q"}), static_cast<std::uint16_t>(80 + below(2)), protocol(), node_port));
    }
    if (chance(3)) result.external_ips = ips({"198.51.100.1", "2001:db8::1"});
    result.has_external_ips = !result.external_ips.empty();
    if (chance(3)) result.ingress = {{ip("203.0.113.1"), static_cast<model::IpMode>(below(2))}, {ip("2001:db8::2")}};
    if (chance(3)) result.source_ranges = {cidr(pick({"192.0.2.0/24", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"}))};
    result.external_traffic_policy = static_cast<model::TrafficPolicy>(below(2));
    result.internal_traffic_policy = static_cast<model::TrafficPolicy>(below(2));
    if (chance(2)) result.health_check_node_port = static_cast<std::uint16_t>(32000 + below(3));
    if (chance(3)) result.affinity_seconds = 10 + below(2);
    return result;
  }

  model::EndpointSlice slice() {
    model::EndpointSlice result;
    result.key = slice_key();
    result.service_name = chance(10) ? "" : service_key().name;
    result.family = chance(3) ? Family::kIPv6 : Family::kIPv4;
    for (unsigned ports = below(4); ports > 0; --ports) {
      result.ports.push_back(slice_port(pick({"", "p", "q"}), static_cast<std::uint16_t>(8080 + below(2)), protocol()));
    }
    for (unsigned endpoints = below(6); endpoints > 0; --endpoints) {
      model::Endpoint endpoint;
      const std::string number = std::to_string(1 + below(9));
      endpoint.address = ip(result.family == Family::kIPv4 ? "10.1.0." + number : "fd01::" + number);
      endpoint.ready = !chance(3);
      endpoint.serving = !chance(3);
      endpoint.terminating = chance(3);
      endpoint.node_name = pick({"self", "far", ""});
      if (!chance(4)) endpoint.zone_hints.push_back(pick({"a", "b"}));
      if (chance(2)) endpoint.node_hints.push_back(pick({"self", "far"}));
      result.endpoints.push_back(std::move(endpoint));
    }
    return result;
  }

  std::mt19937_64 random_;
};

using Ports = std::map<ServicePortKey, ServicePortPlanPtr>;

void expect_same_plan(const Planner& followed, const Planner& fresh) {
  ASSERT_EQ(followed.plan().services.size(), fresh.plan().services.size());
  auto other = fresh.plan().services.begin();
  for (const auto& [key, service] : followed.plan().services) {
    ASSERT_EQ(key, other->first);
    ASSERT_EQ(service.ports.size(), other->second.ports.size()) << key.to_string();
    for (std::size_t i = 0; i < service.ports.size(); ++i) {
      ASSERT_EQ(*service.ports[i], *other->second.ports[i]) << service.ports[i]->key.printed_name();
    }
    ASSERT_EQ(service.health_check_node_port, other->second.health_check_node_port) << key.to_string();
    ASSERT_EQ(service.local_ready, other->second.local_ready) << key.to_string();
    ++other;
  }
  for (const Family family : kFamilies) ASSERT_EQ(followed.refusals(family), fresh.refusals(family));
  ASSERT_EQ(followed.health_checks(), fresh.health_checks());
  for (const Family family : kFamilies) {
    for (const Traffic traffic : {Traffic::kInternal, Traffic::kExternal}) {
      ASSERT_EQ(followed.no_local_endpoints(family, traffic), fresh.no_local_endpoints(family, traffic));
    }
  }
}

// Applies the Changes like a data plane; each must start from what exists, and change it.
void play(const std::vector<Change>& changes, Ports& ports) {
  const ServicePortKey* previous = nullptr;
  for (const Change& change : changes) {
    ASSERT_TRUE(previous == nullptr || *previous < change.key()) << "in order of their keys";
    previous = &change.key();
    const auto known = ports.find(change.key());
    ASSERT_EQ(change.before, known == ports.end() ? nullptr : known->second) << change.key().printed_name();
    ASSERT_TRUE(change.before || change.after);
    if (change.before && change.after) {
      ASSERT_NE(*change.before, *change.after) << "a Change that changes nothing";
    }
    if (change.after) {
      ports[change.key()] = change.after;
    } else {
      ports.erase(change.key());
    }
  }
}

void run(std::uint64_t seed) {
  SCOPED_TRACE("SLUICE_TEST_SEED=" + std::to_string(seed));
  RandomCluster cluster(seed);
  model::Snapshot snapshot;
  Planner followed(kSettings);
  Ports ports;
  for (int batch = 0; batch < kBatchesPerSeed; ++batch) {
    SCOPED_TRACE("batch " + std::to_string(batch));
    const model::Touched touched = snapshot.apply(cluster.batch());
    play(followed.update(snapshot, touched.services), ports);
    if (cluster.chance(10)) play(followed.replan_all(snapshot, cluster.facts()), ports);
    if (testing::Test::HasFatalFailure()) return;
    Planner fresh(kSettings);
    const std::vector<Change> all = fresh.replan_all(snapshot, followed.facts());
    expect_same_plan(followed, fresh);
    if (testing::Test::HasFatalFailure()) return;
    ASSERT_EQ(ports.size(), all.size());
    for (const Change& change : all) ASSERT_EQ(*ports.at(change.key()), *change.after) << change.key().printed_name();
  }
}

TEST(PlannerRandom, IncrementalPlanEqualsThePlanFromScratch) {
  if (const char* given = std::getenv("SLUICE_TEST_SEED")) {
    run(std::strtoull(given, nullptr, 10));
    return;
  }
  std::vector<std::uint64_t> seeds{1, 2, 3, 4, 5, 6, 7, 8};
  seeds.push_back(std::random_device()());
  std::cout << "fresh seed: " << seeds.back() << "\n";
  for (const std::uint64_t seed : seeds) {
    run(seed);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace sluice::plan
