// SPDX-License-Identifier: Apache-2.0
// The two endpoint rules compared with simple second versions of them, on random endpoints (fixed
// seeds).
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "plan/endpoints.h"
#include "plan/test_objects.h"

namespace sluice::plan {
namespace {

using namespace test;

std::vector<model::Endpoint> random_endpoints(std::mt19937& random) {
  const auto chance = [&random](unsigned one_in) { return random() % one_in == 0; };
  std::vector<model::Endpoint> endpoints;
  const bool hinted = !chance(3);
  for (std::size_t count = random() % 6; count > 0; --count) {
    model::Endpoint endpoint;
    endpoint.address = IpAddress::from_v4(static_cast<std::uint32_t>(0x0a010000U + count));
    endpoint.ready = !chance(3);
    endpoint.serving = !chance(3);
    endpoint.terminating = chance(2);
    endpoint.node_name = chance(2) ? "self" : "far";
    if (hinted || chance(2)) endpoint.zone_hints = {chance(2) ? "a" : "b"};
    if (hinted && !chance(8)) endpoint.node_hints = {chance(3) ? "self" : "far"};
    endpoints.push_back(endpoint);
  }
  return endpoints;
}

// The rules of kube-proxy's CategorizeEndpoints one after the other, with a list made at every step.
struct StepByStep {
  std::set<const model::Endpoint*> cluster;
  std::set<const model::Endpoint*> local;
  bool has_endpoints = false;

  template <typename Condition>
  static std::set<const model::Endpoint*> where(const std::vector<model::Endpoint>& endpoints, Condition condition) {
    std::set<const model::Endpoint*> found;
    for (const model::Endpoint& endpoint : endpoints) {
      if (condition(endpoint)) found.insert(&endpoint);
    }
    return found;
  }

  StepByStep(const std::vector<model::Endpoint>& all, PoolUse use, const std::string& zone) {
    const auto ready = [](const model::Endpoint& e) { return e.ready; };
    const auto draining = [](const model::Endpoint& e) { return e.serving && e.terminating; };
    const auto here = [](const model::Endpoint& e) { return e.node_name == "self"; };
    const auto names = [](const std::vector<std::string>& hints, const std::string& name) {
      return std::count(hints.begin(), hints.end(), name) > 0;
    };
    const auto node_hint = [&](const model::Endpoint& e) { return e.ready && names(e.node_hints, "self"); };
    const auto zone_hint = [&](const model::Endpoint& e) {
      return e.ready && !zone.empty() && names(e.zone_hints, zone);
    };
    if (use.cluster) {
      cluster = where(all, ready);
      const bool node_mode = where(all, [](const auto& e) { return e.ready && e.node_hints.empty(); }).empty() &&
                             !where(all, node_hint).empty();
      const bool zone_mode = where(all, [](const auto& e) { return e.ready && e.zone_hints.empty(); }).empty() &&
                             !where(all, zone_hint).empty();
      if (node_mode) {
        cluster = where(all, node_hint);
      } else if (zone_mode) {
        cluster = where(all, zone_hint);
      }
      if (cluster.empty()) cluster = where(all, draining);
      has_endpoints = !cluster.empty();
    }
    if (!use.local) return;
    has_endpoints = has_endpoints || !where(all, [&](const auto& e) { return ready(e) || draining(e); }).empty();
    local = where(all, [&](const auto& e) { return here(e) && ready(e); });
    if (local.empty()) local = where(all, [&](const auto& e) { return here(e) && draining(e); });
  }
};

TEST(ChooseEndpoints, AgreesWithTheRulesTakenStepByStepOnRandomEndpoints) {
  std::mt19937 random(20240608);
  for (int round = 0; round < 2000; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const std::vector<model::Endpoint> endpoints = random_endpoints(random);
    std::vector<KnownEndpoint> known;
    for (const model::Endpoint& endpoint : endpoints) known.push_back({&endpoint, 80, endpoint.node_name == "self"});
    const std::string zone = random() % 4 == 0 ? "" : "a";
    for (const PoolUse use : {PoolUse{true, false}, PoolUse{false, true}, PoolUse{true, true}}) {
      const StepByStep expected(endpoints, use, zone);
      const ChosenEndpoints chosen = choose_endpoints(known, use, {"self", zone});
      ASSERT_EQ(chosen.has_endpoints, expected.has_endpoints);
      std::set<IpAddress> cluster;
      std::set<IpAddress> local;
      for (const RealServer& server : chosen.real_servers) {
        ASSERT_TRUE(server.in_cluster_pool || server.in_local_pool);
        if (server.in_cluster_pool) cluster.insert(server.address);
        if (server.in_local_pool) local.insert(server.address);
      }
      std::set<IpAddress> expected_cluster;
      std::set<IpAddress> expected_local;
      for (const auto* endpoint : expected.cluster) expected_cluster.insert(endpoint->address);
      for (const auto* endpoint : expected.local) expected_local.insert(endpoint->address);
      ASSERT_EQ(cluster, expected_cluster);
      ASSERT_EQ(local, expected_local);
    }
  }
}

// The rule as in kube-proxy, one endpoint after the other into a map by text: slow, but simple.
TEST(MergeEndpoints, AgreesWithTheMapByTextOnRandomSlices) {
  std::mt19937 random(20240607);
  const auto below = [&random](unsigned limit) { return static_cast<unsigned>(random() % limit); };
  for (int round = 0; round < 300; ++round) {
    std::vector<model::EndpointSlice> slices;
    for (unsigned s = 0; s < 1 + below(4); ++s) {
      model::EndpointSlice slice =
          make_slice("s" + std::to_string(s), "web", {slice_port("p", static_cast<std::uint16_t>(80 + below(2)))}, {});
      for (unsigned e = 0; e < below(12); ++e) {
        model::Endpoint endpoint;
        endpoint.address = IpAddress::from_v4(0x0a010000U + below(12));
        endpoint.ready = below(2) == 0;
        endpoint.terminating = below(2) == 0;
        slice.endpoints.push_back(endpoint);
      }
      slices.push_back(slice);
    }
    std::map<std::string, const model::Endpoint*> expected;
    for (const model::EndpointSlice& slice : slices) {
      for (const model::Endpoint& endpoint : slice.endpoints) {
        const std::string text = join_host_port(endpoint.address, slice.ports[0].port);
        if (!expected.contains(text) || !endpoint.terminating) expected[text] = &endpoint;
      }
    }
    const auto merged = merge_endpoints(pointers(slices), {Family::kIPv4, "p", Protocol::kTcp}, "self");
    ASSERT_EQ(merged.size(), expected.size()) << "round " << round;
    std::size_t position = 0;
    for (const auto& [text, endpoint] : expected) {
      EXPECT_EQ(join_host_port(merged[position].endpoint->address, merged[position].port), text) << "round " << round;
      EXPECT_EQ(merged[position].endpoint, endpoint) << "round " << round << ", " << text;
      ++position;
    }
  }
}

}  // namespace
}  // namespace sluice::plan
