// SPDX-License-Identifier: Apache-2.0
#include "plan/planner.h"

#include <gtest/gtest.h>

#include <functional>

#include "plan/test_follower.h"

namespace sluice::plan {
namespace {

using namespace test;
using model::ServiceType;
using model::TrafficPolicy;
using model::Update;

model::Service web() {
  return make_service("web", {service_port("p", 80)});
}
model::EndpointSlice web_slice(const std::vector<std::string>& endpoints, std::string name = "web-1",
                               std::uint16_t number = 80) {
  return make_slice(std::move(name), "web", {slice_port("p", number)}, endpoints);
}

TEST(Planner, ReturnsWhatASlicesEventsChange) {
  Follower f;
  EXPECT_EQ(texts(f.set(web())), Lines{"+shop/web:p []"});
  EXPECT_EQ(texts(f.set(web_slice({"10.1.0.1"}))), Lines{"~shop/web:p [] [10.1.0.1:80]"}) << "none to one";
  EXPECT_EQ(texts(f.set(web_slice({"10.1.0.1"}))), Lines{}) << "no change";
  EXPECT_EQ(texts(f.set(web_slice({"10.1.0.1", "10.1.0.2"}))),
            Lines{"~shop/web:p [10.1.0.1:80] [10.1.0.1:80 10.1.0.2:80]"})
      << "an IP more";
  EXPECT_EQ(texts(f.set(web_slice({"10.1.0.2", "10.1.0.1"}))), Lines{}) << "another order is the same plan";
  EXPECT_EQ(texts(f.set(web_slice({"10.1.0.3"}, "web-2"))),
            Lines{"~shop/web:p [10.1.0.1:80 10.1.0.2:80] [10.1.0.1:80 10.1.0.2:80 10.1.0.3:80]"})
      << "a slice more";
  EXPECT_EQ(texts(f.set(web_slice({"10.1.0.1", "10.1.0.2"}, "web-1", 81))),
            Lines{"~shop/web:p [10.1.0.1:80 10.1.0.2:80 10.1.0.3:80] [10.1.0.1:81 10.1.0.2:81 10.1.0.3:80]"})
      << "renumbered port";
  EXPECT_EQ(texts(f.remove_slice("web-1")), Lines{"~shop/web:p [10.1.0.1:81 10.1.0.2:81 10.1.0.3:80] [10.1.0.3:80]"})
      << "a slice less";
  EXPECT_EQ(texts(f.set(web_slice({"10.1.0.3 unready serving terminating"}, "web-2"))), Lines{})
      << "ready to terminating, but there is no other: the same plan";
  EXPECT_EQ(texts(f.set(web_slice({}, "web-2"))), Lines{"~shop/web:p [10.1.0.3:80] []"}) << "terminating to none";
  EXPECT_EQ(texts(f.set(make_slice("web-2", "web", {slice_port("q", 80)}, {"10.1.0.3"}))), Lines{})
      << "a port that the Service does not name";
  EXPECT_EQ(texts(f.set(web_slice({"10.1.0.3"}, "web-2"))), Lines{"~shop/web:p [] [10.1.0.3:80]"})
      << "renamed to the Service's port";
  EXPECT_EQ(texts(f.remove_slice("unknown")), Lines{});
  EXPECT_EQ(texts(f.remove_service("web")), Lines{"-shop/web:p [10.1.0.3:80]"});
  EXPECT_TRUE(f.planner.plan().services.empty());
}

TEST(Planner, MovesEndpointsWithALabelChange) {
  Follower f;
  f.set(web());
  f.set(make_service("api", {service_port("p", 80)}, {"10.96.0.2"}));
  f.set(web_slice({"10.1.0.1"}));
  EXPECT_EQ(texts(f.set(make_slice("web-1", "api", {slice_port("p", 80)}, {"10.1.0.1"}))),
            (Lines{"~shop/api:p [] [10.1.0.1:80]", "~shop/web:p [10.1.0.1:80] []"}));
}

TEST(Planner, HandlesASliceBeforeItsServiceAndARecreatedService) {
  Follower f;
  EXPECT_EQ(texts(f.set(web_slice({"10.1.0.1"}))), Lines{}) << "no Service, nothing to serve";
  EXPECT_EQ(texts(f.set(web())), Lines{"+shop/web:p [10.1.0.1:80]"});
  EXPECT_EQ(texts(f.remove_service("web")), Lines{"-shop/web:p [10.1.0.1:80]"});
  EXPECT_EQ(texts(f.set(web())), Lines{"+shop/web:p [10.1.0.1:80]"});
  Update recreated;
  recreated.services_removed = {{"shop", "web"}};
  recreated.services = {make_service("web", {service_port("p", 80)}, {"10.96.0.77"})};
  const auto changes = f.apply(std::move(recreated));
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].before->cluster_frontend()->address, ip("10.96.0.1"));
  EXPECT_EQ(changes[0].after->cluster_frontend()->address, ip("10.96.0.77"));
}

TEST(Planner, FollowsDuplicatesAcrossSlicesInBothOrders) {
  for (const bool terminating_first : {true, false}) {
    Follower f;
    f.set(web());
    const std::string draining = "10.1.0.1 unready serving terminating";
    f.set(web_slice({terminating_first ? draining : "10.1.0.1"}, "web-1"));
    f.set(web_slice({terminating_first ? "10.1.0.1" : draining}, "web-2"));
    f.set(web_slice({"10.1.0.2"}, "web-3"));
    const auto& port = *f.planner.plan().services.begin()->second.ports[0];
    EXPECT_EQ(reachable_text(port), "10.1.0.1:80 10.1.0.2:80") << "terminating first: " << terminating_first;
    EXPECT_EQ(port.endpoints_known, 2U);
    EXPECT_EQ(texts(f.remove_slice(terminating_first ? "web-2" : "web-1")),
              Lines{"~shop/web:p [10.1.0.1:80 10.1.0.2:80] [10.1.0.2:80]"})
        << "what is left of the pair is terminating, and a ready one exists";
  }
}

TEST(Planner, DistinguishesPortsOfOneService) {
  Follower f;
  model::Service service = make_service("web", {service_port("a", 80), service_port("b", 81), service_port("c", 82)},
                                        {"10.96.0.1", "fd00::1"});
  EXPECT_EQ(texts(f.set(service)), (Lines{"+shop/web:a []", "+shop/web:a/6 []", "+shop/web:b []", "+shop/web:b/6 []",
                                          "+shop/web:c []", "+shop/web:c/6 []"}));
  const auto port_a = f.planner.plan().services.begin()->second.ports[0];
  service.ports[1] = service_port("bb", 81);
  service.ports[2].port = 83;
  service.cluster_ips.pop_back();
  EXPECT_EQ(texts(f.set(service)), (Lines{"-shop/web:a/6 []", "-shop/web:b []", "-shop/web:b/6 []", "+shop/web:bb []",
                                          "~shop/web:c [] []", "-shop/web:c/6 []"}));
  EXPECT_EQ(f.planner.plan().services.begin()->second.ports[0], port_a)
      << "a port that did not change stays the same object";
}

TEST(Planner, LooksAtOneFamilyWhenItsSliceChanges) {
  Follower f;
  f.set(make_service("web", {service_port("p", 80)}, {"10.96.0.1", "fd00::1"}));
  f.set(web_slice({"10.1.0.1"}));
  EXPECT_EQ(texts(f.set(make_slice("web-6", "web", {slice_port("p", 80)}, {"fd01::1"}, Family::kIPv6))),
            Lines{"~shop/web:p/6 [] [[fd01::1]:80]"});
}

TEST(Planner, FollowsServicesThroughTheirTypes) {
  Follower f;
  f.set(web_slice({"10.1.0.1 @self"}));
  f.set(web());
  model::Service service = web();
  service.headless = true;
  EXPECT_EQ(texts(f.set(service)), Lines{"-shop/web:p [10.1.0.1:80]"})
      << "a Service that is skipped from now on is deleted";
  service.type = ServiceType::kExternalName;
  EXPECT_EQ(texts(f.set(service)), Lines{}) << "from skipped to skipped";
  service = web();
  service.other_proxy = true;
  EXPECT_EQ(texts(f.set(service)), Lines{});
  EXPECT_EQ(texts(f.set(web())), Lines{"+shop/web:p [10.1.0.1:80]"});
  service = web();
  service.type = ServiceType::kLoadBalancer;
  service.external_traffic_policy = TrafficPolicy::kLocal;
  service.ingress = {{ip("203.0.113.1")}};
  service.ports[0].node_port = 30080;
  service.health_check_node_port = 32000;
  EXPECT_EQ(f.set(service).size(), 1U);
  EXPECT_EQ(f.health_text("web"), "32000 1 -");
  EXPECT_EQ(f.set(service).size(), 0U) << "the same object";
  EXPECT_EQ(f.set(web()).size(), 1U);
  EXPECT_EQ(f.health_text("web"), "none");
}

TEST(Planner, KeepsHealthChecksAndReportsWhenTheyChange) {
  Follower f;
  model::Service service = make_service("web", {service_port("p", 80)}, {"10.96.0.1", "fd00::1"});
  service.type = ServiceType::kLoadBalancer;
  service.external_traffic_policy = TrafficPolicy::kLocal;
  service.health_check_node_port = 32000;
  struct Row {
    const char* name;
    std::function<std::vector<Change>()> step;
    const char* health;
    bool grows;
    bool changes_ports;
  };
  const Row rows[] = {
      {"the Service appears", [&] { return f.set(service); }, "32000 0 0", true, true},
      {"a remote endpoint", [&] { return f.set(web_slice({"10.1.0.1 @far"})); }, "32000 0 0", false, true},
      {"a local endpoint of a port that the Service does not name",
       [&] { return f.set(make_slice("m", "web", {slice_port("metrics", 9)}, {"10.1.0.9 @self"})); }, "32000 1 0", true,
       false},
      {"a local endpoint of IPv6",
       [&] { return f.set(make_slice("six", "web", {slice_port("p", 80)}, {"fd01::1 @self"}, Family::kIPv6)); },
       "32000 1 1", true, true},
      {"another Service", [&] { return f.set(make_service("api", {service_port("p", 80)}, {"10.96.0.2"})); },
       "32000 1 1", false, true},
      {"it starts terminating",
       [&] {
         return f.set(make_slice("six", "web", {slice_port("p", 80)}, {"fd01::1 @self unready serving terminating"},
                                 Family::kIPv6));
       },
       "32000 1 0", true, false},
      {"another port",
       [&] {
         service.health_check_node_port = 32001;
         return f.set(service);
       },
       "32001 1 0", true, true},
      {"IPv4 alone",
       [&] {
         service.cluster_ips.pop_back();
         return f.set(service);
       },
       "32001 1 -", true, true},
      {"nothing new", [&] { return f.set(service); }, "32001 1 -", false, false},
      {"the Service goes", [&] { return f.remove_service("web"); }, "none", true, true},
  };
  for (const Row& row : rows) {
    const std::uint64_t before = f.planner.health_checks_generation();
    EXPECT_EQ(!row.step().empty(), row.changes_ports) << row.name;
    EXPECT_EQ(f.health_text("web"), row.health) << row.name;
    EXPECT_EQ(f.planner.health_checks_generation() > before, row.grows) << row.name;
  }
  EXPECT_TRUE(f.planner.health_checks().empty());
}

TEST(Planner, CountsPortsWhosePolicyFindsNoEndpointHere) {
  struct Row {
    const char* name;
    bool internal_local;
    bool external_local;
    bool node_port;
    std::vector<std::string> endpoints;
    std::size_t internal;
    std::size_t external;
  };
  const Row rows[] = {
      {"Cluster", false, false, true, {"10.1.0.1 @far"}, 0, 0},
      {"internal Local, one here", true, false, true, {"10.1.0.1 @self", "10.1.0.2 @far"}, 0, 0},
      {"internal Local, none here", true, false, true, {"10.1.0.1 @far"}, 1, 0},
      {"external Local, none here", false, true, true, {"10.1.0.1 @far"}, 0, 1},
      {"external Local, one here", false, true, true, {"10.1.0.1 @self"}, 0, 0},
      {"both Local, none here", true, true, true, {"10.1.0.1 @far"}, 1, 1},
      {"both Local, nobody anywhere", true, true, true, {}, 0, 0},
      {"both Local, unready only", true, true, true, {"10.1.0.1 @far unready"}, 0, 0},
      {"both Local, far ones terminating", true, true, true, {"10.1.0.1 @far unready serving terminating"}, 1, 1},
      {"external Local without a way in", false, true, false, {"10.1.0.1 @far"}, 0, 0},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    Follower f;
    model::Service service = make_service("web", {service_port("p", 80), service_port("q", 81)});
    service.type = ServiceType::kLoadBalancer;
    if (row.node_port) service.ports[0].node_port = 30080;
    if (row.internal_local) service.internal_traffic_policy = TrafficPolicy::kLocal;
    if (row.external_local) service.external_traffic_policy = TrafficPolicy::kLocal;
    f.set(service);
    f.set(web_slice(row.endpoints));
    EXPECT_EQ(f.planner.no_local_endpoints(Family::kIPv4, Traffic::kInternal), row.internal);
    EXPECT_EQ(f.planner.no_local_endpoints(Family::kIPv4, Traffic::kExternal), row.external);
    EXPECT_EQ(f.planner.no_local_endpoints(Family::kIPv6, Traffic::kInternal), 0U);
    f.remove_service("web");
    EXPECT_EQ(f.planner.no_local_endpoints(Family::kIPv4, Traffic::kInternal), 0U) << "all is taken back";
    EXPECT_EQ(f.planner.no_local_endpoints(Family::kIPv4, Traffic::kExternal), 0U) << "all is taken back";
  }
}

TEST(Planner, PlansEverythingAgainWhenTheNodeChanges) {
  Follower f;
  f.set(web());
  f.set(make_service("api", {service_port("p", 80)}, {"10.96.0.2"}));
  f.set(web_slice({"10.1.0.1 zone=a", "10.1.0.2 zone=b"}));
  NodeFacts facts;
  facts.zone = "a";
  EXPECT_EQ(texts(f.planner.replan_all(f.snapshot, facts)),
            Lines{"~shop/web:p [10.1.0.1:80 10.1.0.2:80] [10.1.0.1:80]"});
  EXPECT_EQ(texts(f.planner.replan_all(f.snapshot, facts)), Lines{}) << "the same facts";
  EXPECT_EQ(f.planner.facts(), facts);
  EXPECT_EQ(texts(f.set(web_slice({"10.1.0.2 zone=b", "10.1.0.3 zone=a"}))),
            Lines{"~shop/web:p [10.1.0.1:80] [10.1.0.3:80]"})
      << "the facts stay in force";
  facts.zone = "b";
  EXPECT_EQ(texts(f.planner.replan_all(f.snapshot, facts)), Lines{"~shop/web:p [10.1.0.3:80] [10.1.0.2:80]"});
}

TEST(Planner, PlansEverythingAgainEvenIfARemovalWasMissed) {
  Follower f;
  f.set(web());
  Update unnoticed;
  unnoticed.services_removed = {{"shop", "web"}};
  unnoticed.services = {make_service("api", {service_port("p", 80)})};
  f.snapshot.apply(std::move(unnoticed));
  EXPECT_EQ(texts(f.planner.replan_all(f.snapshot, {})), (Lines{"+shop/api:p []", "-shop/web:p []"}));
}

}  // namespace
}  // namespace sluice::plan
