// SPDX-License-Identifier: Apache-2.0
#include "plan/endpoints.h"

#include <gtest/gtest.h>

#include "plan/test_objects.h"

namespace sluice::plan {
namespace {

using namespace test;

// Policies and reachability of the Service that the endpoints belong to.
struct Policy {
  bool internal_local = false;
  bool external_local = false;
  bool from_outside = false;  // it has a node port
};
constexpr Policy kCluster{};
constexpr Policy kInternalLocal{true, false, false};
constexpr Policy kInternalLocalFromOutside{true, false, true};
constexpr Policy kExternalLocal{false, true, true};
constexpr Policy kBothLocal{true, true, true};

struct ChoiceRow {
  const char* name;
  Policy policy;
  const char* zone;
  std::vector<std::string> endpoints;
  const char* cluster;
  const char* local;
  const char* reachable;
  bool has_endpoints;
};

void expect_choices(const std::vector<ChoiceRow>& rows) {
  for (const ChoiceRow& row : rows) {
    SCOPED_TRACE(row.name);
    model::Service service = make_service("web", {service_port("p", 80)});
    if (row.policy.from_outside) {
      service.type = model::ServiceType::kNodePort;
      service.ports[0].node_port = 30080;
    }
    if (row.policy.internal_local) service.internal_traffic_policy = model::TrafficPolicy::kLocal;
    if (row.policy.external_local) service.external_traffic_policy = model::TrafficPolicy::kLocal;
    NodeFacts facts;
    facts.zone = row.zone;
    const ServicePlan plan =
        plan_of(service, {make_slice("web-1", "web", {slice_port("p", 80)}, row.endpoints)}, facts);
    ASSERT_EQ(plan.ports.size(), 1U);
    const ServicePortPlan& port = *plan.ports[0];
    EXPECT_EQ(pool_text(port, Pool::kCluster), row.cluster);
    EXPECT_EQ(pool_text(port, Pool::kLocal), row.local);
    EXPECT_EQ(reachable_text(port), row.reachable);
    EXPECT_EQ(port.has_endpoints, row.has_endpoints);
    EXPECT_EQ(port.endpoints_known, row.endpoints.size());
  }
}

TEST(ChooseEndpoints, UsesHintsOnlyWhenEveryReadyEndpointHasOne) {
  expect_choices({
      {"own zone has endpoints",
       kCluster,
       "a",
       {"10.1.0.1 zone=a", "10.1.0.2 zone=b", "10.1.0.3 zone=c", "10.1.0.4 zone=a"},
       "10.1.0.1:80 10.1.0.4:80",
       "",
       "10.1.0.1:80 10.1.0.4:80",
       true},
      {"zone of the node unknown",
       kCluster,
       "",
       {"10.1.0.1 zone=a", "10.1.0.2 zone=b"},
       "10.1.0.1:80 10.1.0.2:80",
       "",
       "10.1.0.1:80 10.1.0.2:80",
       true},
      {"zone of the node unknown, an empty hint",
       kCluster,
       "",
       {"10.1.0.1 zone=", "10.1.0.2 zone=b"},
       "10.1.0.1:80 10.1.0.2:80",
       "",
       "10.1.0.1:80 10.1.0.2:80",
       true},
      {"own zone has no endpoints",
       kCluster,
       "z",
       {"10.1.0.1 zone=a", "10.1.0.2 zone=b"},
       "10.1.0.1:80 10.1.0.2:80",
       "",
       "10.1.0.1:80 10.1.0.2:80",
       true},
      {"an unready endpoint in the own zone",
       kCluster,
       "a",
       {"10.1.0.1 zone=a", "10.1.0.2 zone=b", "10.1.0.3 zone=a unready"},
       "10.1.0.1:80",
       "",
       "10.1.0.1:80",
       true},
      {"only unready endpoints in the own zone",
       kCluster,
       "a",
       {"10.1.0.1 zone=a unready", "10.1.0.2 zone=b", "10.1.0.3 zone=c"},
       "10.1.0.2:80 10.1.0.3:80",
       "",
       "10.1.0.2:80 10.1.0.3:80",
       true},
      {"one ready endpoint has no hint",
       kCluster,
       "a",
       {"10.1.0.1 zone=a", "10.1.0.2 zone=b", "10.1.0.3"},
       "10.1.0.1:80 10.1.0.2:80 10.1.0.3:80",
       "",
       "10.1.0.1:80 10.1.0.2:80 10.1.0.3:80",
       true},
      {"one unready endpoint has no hint",
       kCluster,
       "a",
       {"10.1.0.1 zone=a", "10.1.0.2 zone=b", "10.1.0.3 unready"},
       "10.1.0.1:80",
       "",
       "10.1.0.1:80",
       true},
      {"several zones in one hint",
       kCluster,
       "c",
       {"10.1.0.1 zone=a zone=b zone=c", "10.1.0.2 zone=b zone=c", "10.1.0.3 zone=b"},
       "10.1.0.1:80 10.1.0.2:80",
       "",
       "10.1.0.1:80 10.1.0.2:80",
       true},
      {"hints do not choose among terminating endpoints",
       kCluster,
       "a",
       {"10.1.0.1 zone=a unready serving terminating", "10.1.0.2 zone=b unready serving terminating"},
       "10.1.0.1:80 10.1.0.2:80",
       "",
       "10.1.0.1:80 10.1.0.2:80",
       true},
  });
}

TEST(ChooseEndpoints, PrefersNodeHintsToZoneHints) {
  expect_choices({
      {"hinted for this node",
       kCluster,
       "a",
       {"10.1.0.1 zone=a node=self", "10.1.0.2 zone=a node=other", "10.1.0.3 zone=b node=third"},
       "10.1.0.1:80",
       "",
       "10.1.0.1:80",
       true},
      {"some lack node hints: zone decides",
       kCluster,
       "a",
       {"10.1.0.1 zone=a node=self", "10.1.0.2 zone=a", "10.1.0.3 zone=b node=x"},
       "10.1.0.1:80 10.1.0.2:80",
       "",
       "10.1.0.1:80 10.1.0.2:80",
       true},
      {"none for this node: zone decides",
       kCluster,
       "b",
       {"10.1.0.1 zone=a node=x", "10.1.0.2 zone=b node=y", "10.1.0.3 zone=b node=z"},
       "10.1.0.2:80 10.1.0.3:80",
       "",
       "10.1.0.2:80 10.1.0.3:80",
       true},
      {"none for this node, no zone hints: all",
       kCluster,
       "b",
       {"10.1.0.1 node=x", "10.1.0.2 node=y"},
       "10.1.0.1:80 10.1.0.2:80",
       "",
       "10.1.0.1:80 10.1.0.2:80",
       true},
      {"the one for this node is not ready",
       kCluster,
       "b",
       {"10.1.0.1 zone=b node=self unready", "10.1.0.2 zone=b node=y", "10.1.0.3 zone=a node=z"},
       "10.1.0.2:80",
       "",
       "10.1.0.2:80",
       true},
      {"node hints work without a known zone",
       kCluster,
       "",
       {"10.1.0.1 node=self", "10.1.0.2 node=y"},
       "10.1.0.1:80",
       "",
       "10.1.0.1:80",
       true},
  });
}

TEST(ChooseEndpoints, LeavesHintsOutOfTheLocalPool) {
  const std::vector<std::string> spread{"10.1.0.1 zone=a @self", "10.1.0.2 zone=b @self", "10.1.0.3 zone=a @far",
                                        "10.1.0.4 zone=b @far"};
  expect_choices({
      {"external Local: cluster pool hinted, local pool not", kExternalLocal, "a", spread, "10.1.0.1:80 10.1.0.3:80",
       "10.1.0.1:80 10.1.0.2:80", "10.1.0.1:80 10.1.0.2:80 10.1.0.3:80", true},
      {"internal Local", kInternalLocal, "a", spread, "", "10.1.0.1:80 10.1.0.2:80", "10.1.0.1:80 10.1.0.2:80", true},
      {"zone and locality disagree wholly",
       kExternalLocal,
       "b",
       {"10.1.0.1 zone=a @self", "10.1.0.2 zone=b @far"},
       "10.1.0.2:80",
       "10.1.0.1:80",
       "10.1.0.1:80 10.1.0.2:80",
       true},
  });
}

TEST(ChooseEndpoints, DrawsPoolsByPolicy) {
  const std::vector<std::string> some_local{"10.1.0.1 @self", "10.1.0.2 @far"};
  const char* both = "10.1.0.1:80 10.1.0.2:80";
  expect_choices({
      {"internal Local, none at all", kInternalLocal, "", {}, "", "", "", false},
      {"Cluster, none at all", kCluster, "", {}, "", "", "", false},
      {"internal Local, all remote", kInternalLocal, "", {"10.1.0.1 @far", "10.1.0.2 @far"}, "", "", "", true},
      {"internal Local, all local", kInternalLocal, "", {"10.1.0.1 @self", "10.1.0.2 @self"}, "", both, both, true},
      {"internal Local, some local: no cluster pool", kInternalLocal, "", some_local, "", "10.1.0.1:80", "10.1.0.1:80",
       true},
      {"internal Local, external Cluster, some local", kInternalLocalFromOutside, "", some_local, both, "10.1.0.1:80",
       both, true},
      {"internal Cluster, external Local, some local", kExternalLocal, "", some_local, both, "10.1.0.1:80", both, true},
      {"both Local, some local", kBothLocal, "", some_local, both, "10.1.0.1:80", both, true},
      {"both Local, all remote", kBothLocal, "", {"10.1.0.1 @far", "10.1.0.2 @far"}, both, "", both, true},
      {"both Local, all remote and terminating",
       kBothLocal,
       "",
       {"10.1.0.1 @far unready serving terminating", "10.1.0.2 @far unready serving terminating"},
       both,
       "",
       both,
       true},
      {"external Local but nothing comes from outside", {false, true, false}, "", some_local, both, "", both, true},
      {"an endpoint without a node is not local", kInternalLocal, "", {"10.1.0.1"}, "", "", "", true},
  });
}

TEST(ChooseEndpoints, FallsBackToTerminatingEndpointsThatServe) {
  const char* both = "10.1.0.1:80 10.1.0.2:80";
  expect_choices({
      {"not ready", kCluster, "", {"10.1.0.1 unready", "10.1.0.2 unready"}, "", "", "", false},
      {"not ready though serving", kCluster, "", {"10.1.0.1 unready serving"}, "", "", "", false},
      {"some ready", kCluster, "", {"10.1.0.1", "10.1.0.2 unready"}, "10.1.0.1:80", "", "10.1.0.1:80", true},
      {"all terminating and serving",
       kCluster,
       "",
       {"10.1.0.1 unready serving terminating", "10.1.0.2 unready serving terminating"},
       both,
       "",
       both,
       true},
      {"terminating, one stopped serving",
       kCluster,
       "",
       {"10.1.0.1 unready serving terminating", "10.1.0.2 unready terminating"},
       "10.1.0.1:80",
       "",
       "10.1.0.1:80",
       true},
      {"terminating ones wait behind a ready one",
       kCluster,
       "",
       {"10.1.0.1 unready serving terminating", "10.1.0.2"},
       "10.1.0.2:80",
       "",
       "10.1.0.2:80",
       true},
      {"neither ready nor serving nor terminating", kCluster, "", {"10.1.0.1 @self unready"}, "", "", "", false},
      {"the same under Local", kInternalLocal, "", {"10.1.0.1 @self unready"}, "", "", "", false},
      {"published while not ready: ready and terminating",
       kCluster,
       "",
       {"10.1.0.1 terminating", "10.1.0.2"},
       both,
       "",
       both,
       true},
      {"published while not ready, local",
       kInternalLocal,
       "",
       {"10.1.0.1 @self terminating", "10.1.0.2 @self"},
       "",
       both,
       both,
       true},
      {"cluster has ready ones, local falls back",
       kExternalLocal,
       "",
       {"10.1.0.1 @self unready serving terminating", "10.1.0.2 @self unready terminating", "10.1.0.3 @far",
        "10.1.0.4 @far unready serving terminating"},
       "10.1.0.3:80",
       "10.1.0.1:80",
       "10.1.0.1:80 10.1.0.3:80",
       true},
      {"local has a ready one beside a terminating one",
       kExternalLocal,
       "",
       {"10.1.0.1 @self unready serving terminating", "10.1.0.2 @self"},
       "10.1.0.2:80",
       "10.1.0.2:80",
       "10.1.0.2:80",
       true},
      {"internal Local falls back",
       kInternalLocal,
       "",
       {"10.1.0.1 @self unready serving terminating", "10.1.0.2 @far"},
       "",
       "10.1.0.1:80",
       "10.1.0.1:80",
       true},
      {"remote terminating ones keep internal Local from rejecting",
       kInternalLocal,
       "",
       {"10.1.0.1 @far unready serving terminating"},
       "",
       "",
       "",
       true},
  });
}

TEST(ChooseEndpoints, KnowsNoLocalEndpointsWithoutANodeName) {
  const model::EndpointSlice slice = make_slice("s", "web", {slice_port("p", 80)}, {"10.1.0.1"});
  const auto known = merge_endpoints({&slice}, {Family::kIPv4, "p", Protocol::kTcp}, "");
  ASSERT_EQ(known.size(), 1U);
  EXPECT_FALSE(known[0].on_this_node);
}

TEST(ChooseEndpoints, FollowsNoNodeHintsWithoutANodeName) {
  const model::EndpointSlice slice =
      make_slice("s", "web", {slice_port("p", 80)}, {"10.1.0.1 node=", "10.1.0.2 node=a"});
  const auto known = merge_endpoints({&slice}, {Family::kIPv4, "p", Protocol::kTcp}, "");
  EXPECT_EQ(choose_endpoints(known, {}, {"", ""}).real_servers.size(), 2U);
}

std::string merged_text(const std::vector<model::EndpointSlice>& slices, const SlicePortId& port) {
  std::string text;
  for (const KnownEndpoint& known : merge_endpoints(pointers(slices), port, "self")) {
    text += (text.empty() ? "" : " ") + join_host_port(known.endpoint->address, known.port);
    if (known.on_this_node) text += "*";
    if (!known.endpoint->ready) text += "-";
    if (known.endpoint->serving && !known.endpoint->ready) text += "s";
    if (known.endpoint->terminating) text += "t";
  }
  return text;
}

TEST(MergeEndpoints, JoinsSlicesByPortNameProtocolAndFamily) {
  const std::vector<model::EndpointSlice> slices{
      make_slice("a", "web", {slice_port("http", 80), slice_port("dns", 53, Protocol::kUdp)},
                 {"10.1.0.1 @self", "10.1.0.2 unready"}),
      make_slice("b", "web", {slice_port("http", 8080), slice_port("dns", 53)},
                 {"10.1.0.1 @self", "10.1.0.3 unready serving terminating"}),
      make_slice("c", "web", {slice_port("http", 0), slice_port("", 99, Protocol::kSctp)}, {"10.1.0.9"}),
      make_slice("d", "web", {slice_port("http", 80)}, {"fd00::1"}, Family::kIPv6),
      make_slice("e", "web", {}, {"10.1.0.7"}),
  };
  struct Row {
    const char* name;
    SlicePortId port;
    const char* merged;
  };
  const Row rows[] = {
      {"one IP under two numbers is two endpoints; not ready ones stay known",
       {Family::kIPv4, "http", Protocol::kTcp},
       "10.1.0.1:80* 10.1.0.1:8080* 10.1.0.2:80- 10.1.0.3:8080-st"},
      {"by protocol UDP", {Family::kIPv4, "dns", Protocol::kUdp}, "10.1.0.1:53* 10.1.0.2:53-"},
      {"from TCP", {Family::kIPv4, "dns", Protocol::kTcp}, "10.1.0.1:53* 10.1.0.3:53-st"},
      {"an empty name is a name", {Family::kIPv4, "", Protocol::kSctp}, "10.1.0.9:99"},
      {"the other family", {Family::kIPv6, "http", Protocol::kTcp}, "[fd00::1]:80"},
      {"an unknown name", {Family::kIPv4, "https", Protocol::kTcp}, ""},
  };
  for (const Row& row : rows) EXPECT_EQ(merged_text(slices, row.port), row.merged) << row.name;
}

TEST(MergeEndpoints, SortsByThePrintedAddress) {
  const std::vector<model::EndpointSlice> slices{
      make_slice("a", "web", {slice_port("p", 80), slice_port("q", 9)},
                 {"10.0.0.2", "10.0.0.10", "9.0.0.1", "10.0.0.1"}),
      make_slice("b", "web", {slice_port("p", 8080)}, {"10.0.0.10"}),
  };
  EXPECT_EQ(merged_text(slices, {Family::kIPv4, "p", Protocol::kTcp}),
            "10.0.0.10:80 10.0.0.10:8080 10.0.0.1:80 10.0.0.2:80 9.0.0.1:80");
}

TEST(MergeEndpoints, LetsTheEndpointThatIsNotTerminatingWinWhateverTheOrder) {
  const std::string ready = "10.1.0.1";
  const std::string draining = "10.1.0.1 unready serving terminating";
  struct Row {
    const char* name;
    std::string first;
    std::string second;
    const char* merged;
  };
  const Row rows[] = {
      {"ready before terminating", ready, draining, "10.1.0.1:80"},
      {"terminating before ready", draining, ready, "10.1.0.1:80"},
      {"unready before terminating", "10.1.0.1 unready", draining, "10.1.0.1:80-"},
      {"terminating before unready", draining, "10.1.0.1 unready", "10.1.0.1:80-"},
      {"two terminating: the first stays", draining, "10.1.0.1 unready terminating", "10.1.0.1:80-st"},
      {"two that are not: the last stays", "10.1.0.1 unready", ready, "10.1.0.1:80"},
  };
  const SlicePortId port{Family::kIPv4, "p", Protocol::kTcp};
  for (const Row& row : rows) {
    EXPECT_EQ(merged_text({make_slice("a", "web", {slice_port("p", 80)}, {row.first}),
                           make_slice("b", "web", {slice_port("p", 80)}, {row.second})},
                          port),
              row.merged)
        << row.name << ", two slices";
    EXPECT_EQ(merged_text({make_slice("a", "web", {slice_port("p", 80)}, {row.first, row.second})}, port), row.merged)
        << row.name << ", one slice";
  }
}

TEST(MergeEndpoints, SkipsAddressesOfTheOtherFamily) {
  EXPECT_EQ(merged_text({make_slice("a", "web", {slice_port("p", 80)}, {"fd00::1", "10.1.0.1"})},
                        {Family::kIPv4, "p", Protocol::kTcp}),
            "10.1.0.1:80");
}

}  // namespace
}  // namespace sluice::plan
