// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "plan/planner.h"
#include "plan/test_objects.h"

namespace sluice::plan {
namespace {

using namespace test;
using model::ServiceType;
using model::TrafficPolicy;
using Edit = std::function<void(model::Service&)>;

model::Service dual_stack_service() {
  model::Service service = make_service("web", {service_port("http", 80), service_port("dns", 53, Protocol::kUdp)},
                                        {"10.96.0.1", "fd00:96::1"});
  return service;
}

// "shop/web:http/TCP/IPv4 10.96.0.1:80" for each port of the plan.
std::vector<std::string> port_texts(const ServicePlan& plan) {
  std::vector<std::string> texts;
  for (const ServicePortPlanPtr& port : plan.ports) {
    texts.push_back(port->key.printed_name() + "/" + std::string(to_string(port->key.protocol)) + "/" +
                    std::string(to_string(port->key.family)) + " " +
                    join_host_port(port->cluster_frontend()->address, port->cluster_frontend()->port));
  }
  return texts;
}

TEST(PlanService, MakesOnePortPerFamilyAndPortInOrderOfTheirKeys) {
  EXPECT_EQ(
      port_texts(plan_of(dual_stack_service(), {})),
      (std::vector<std::string>{"shop/web:dns/UDP/IPv4 10.96.0.1:53", "shop/web:dns/UDP/IPv6 [fd00:96::1]:53",
                                "shop/web:http/TCP/IPv4 10.96.0.1:80", "shop/web:http/TCP/IPv6 [fd00:96::1]:80"}));
  const model::Service one_name = make_service(
      "web", {service_port("", 132, Protocol::kSctp), service_port("", 132, Protocol::kUdp), service_port("", 132)});
  EXPECT_EQ(port_texts(plan_of(one_name, {})),
            (std::vector<std::string>{"shop/web/TCP/IPv4 10.96.0.1:132", "shop/web/UDP/IPv4 10.96.0.1:132",
                                      "shop/web/SCTP/IPv4 10.96.0.1:132"}));
}

TEST(PlanService, ServesOnlyWhatIsForThisProxy) {
  struct Row {
    const char* name;
    Edit edit;
    std::size_t ports;
  };
  const Row rows[] = {
      {"as it is", [](auto&) {}, 4},
      {"headless",
       [](auto& s) {
         s.headless = true;
         s.cluster_ips.clear();
       },
       0},
      {"headless though an address is listed", [](auto& s) { s.headless = true; }, 0},
      {"ExternalName, even with a cluster IP", [](auto& s) { s.type = ServiceType::kExternalName; }, 0},
      {"another proxy's", [](auto& s) { s.other_proxy = true; }, 0},
      {"no cluster IP yet", [](auto& s) { s.cluster_ips.clear(); }, 0},
      {"no ports", [](auto& s) { s.ports.clear(); }, 0},
      {"cluster IP of IPv4 alone", [](auto& s) { s.cluster_ips = ips({"10.96.0.1"}); }, 2},
      {"cluster IP of IPv6 alone", [](auto& s) { s.cluster_ips = ips({"fd00:96::1"}); }, 2},
      {"IPv6 first", [](auto& s) { std::swap(s.cluster_ips[0], s.cluster_ips[1]); }, 4},
      {"NodePort", [](auto& s) { s.type = ServiceType::kNodePort; }, 4},
      {"LoadBalancer", [](auto& s) { s.type = ServiceType::kLoadBalancer; }, 4},
  };
  for (const Row& row : rows) {
    model::Service service = dual_stack_service();
    row.edit(service);
    EXPECT_EQ(plan_of(service, {}).ports.size(), row.ports) << row.name;
  }
}

TEST(PlanService, PicksTheClusterIpOfEachFamily) {
  struct Row {
    const char* name;
    std::vector<std::string> cluster_ips;
    const char* v4;
    const char* v6;
  };
  const Row rows[] = {
      {"IPv4 only", {"10.96.0.1"}, "10.96.0.1", ""},
      {"IPv6 only", {"fd00::1"}, "", "fd00::1"},
      {"IPv4 first", {"10.96.0.1", "fd00::1"}, "10.96.0.1", "fd00::1"},
      {"IPv6 first", {"fd00::1", "10.96.0.1"}, "10.96.0.1", "fd00::1"},
      {"leading zeros", {"172.30.0.041"}, "172.30.0.41", ""},
      {"none", {}, "", ""},
  };
  for (const Row& row : rows) {
    std::array<std::string, 2> found;
    for (const auto& port : plan_of(make_service("web", {service_port("", 80)}, row.cluster_ips), {}).ports) {
      found[static_cast<std::size_t>(port->key.family)] = port->cluster_frontend()->address.to_string();
    }
    EXPECT_EQ(found[0], row.v4) << row.name;
    EXPECT_EQ(found[1], row.v6) << row.name;
  }
}

TEST(PlanService, SortsAddressesAndRangesByFamily) {
  model::Service service = dual_stack_service();
  service.type = ServiceType::kLoadBalancer;
  service.ports.resize(1);
  service.external_ips = ips({"198.51.100.1", "2001:db8::1", "198.51.100.2", "198.51.100.1"});
  service.has_external_ips = true;
  service.ingress = {
      {ip("203.0.113.1")}, {ip("2001:db8::2")}, {ip("203.0.113.2"), model::IpMode::kProxy}, {ip("203.0.113.1")}};
  service.source_ranges = {cidr("192.0.2.0/24"), cidr("2001:db8:1::/48"), cidr("10.0.0.0/8"), cidr("10.9.9.9/8")};
  service.affinity_seconds = 10800;
  service.sluice_annotations = {{"sluice.dev/scheduler", "lc"}};
  const ServicePlan plan = plan_of(service, {});
  ASSERT_EQ(plan.ports.size(), 2U);
  EXPECT_EQ(addresses_of(*plan.ports[0], FrontendKind::kExternalIp), ips({"198.51.100.1", "198.51.100.2"}));
  EXPECT_EQ(addresses_of(*plan.ports[1], FrontendKind::kExternalIp), ips({"2001:db8::1"}));
  EXPECT_EQ(addresses_of(*plan.ports[0], FrontendKind::kLoadBalancerIp), ips({"203.0.113.1"}))
      << "ipMode Proxy is left out, a repeated address appears once";
  EXPECT_EQ(addresses_of(*plan.ports[1], FrontendKind::kLoadBalancerIp), ips({"2001:db8::2"}));
  EXPECT_EQ(plan.ports[0]->source_ranges, (std::vector<Cidr>{cidr("192.0.2.0/24"), cidr("10.0.0.0/8")}));
  EXPECT_EQ(plan.ports[1]->source_ranges, (std::vector<Cidr>{cidr("2001:db8:1::/48")}));
  for (const auto& port : plan.ports) {
    EXPECT_EQ(port->affinity_seconds, 10800U);
    EXPECT_EQ(port->sluice_annotations, service.sluice_annotations);
  }
}

TEST(PlanService, FiltersBySourceRanges) {
  struct Row {
    const char* name;
    std::vector<std::string> ranges;
    const char* node_ip;
    std::size_t v4;
    std::size_t v6;
    bool node_ip_inside;
  };
  const Row rows[] = {
      {"none", {}, "192.0.2.5", 0, 0, false},
      {"around the node's IP", {"192.0.2.0/24"}, "192.0.2.5", 1, 0, true},
      {"the second one is around the node's IP", {"10.0.0.0/8", "192.0.2.5/32"}, "192.0.2.5", 2, 0, true},
      {"elsewhere", {"198.51.100.0/24"}, "192.0.2.5", 1, 0, false},
      {"node's IP unknown", {"192.0.2.0/24"}, "", 1, 0, false},
      {"a /0 opens its family alone", {"10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32"}, "10.0.0.1", 0, 1, false},
      {"a /0 of the other family", {"10.0.0.0/8", "::/0"}, "10.0.0.1", 1, 0, true},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    model::Service service = dual_stack_service();
    service.type = ServiceType::kLoadBalancer;
    for (const std::string& range : row.ranges) service.source_ranges.push_back(cidr(range));
    NodeFacts facts;
    facts.node_ip[0] = IpAddress::parse(row.node_ip);
    const ServicePlan plan = plan_of(service, {}, facts);
    EXPECT_EQ(plan.ports[0]->source_ranges.size(), row.v4);
    EXPECT_EQ(plan.ports[1]->source_ranges.size(), row.v6);
    EXPECT_EQ(plan.ports[0]->node_ip_in_source_ranges, row.node_ip_inside);
  }
}

struct PredicateRow {
  const char* name;
  Edit edit;
  bool external_local;
  bool externally_accessible;
  bool uses_cluster;
  bool uses_local;
  std::uint16_t health_check_port;
};

TEST(PlanService, WorksOutPoliciesAndReachability) {
  const auto local = [](auto& s) {
    s.external_traffic_policy = TrafficPolicy::kLocal;
    s.health_check_node_port = 32000;
  };
  const PredicateRow rows[] = {
      {"ClusterIP", [](auto&) {}, false, false, true, false, 0},
      {"ClusterIP, policy Local without external IPs", local, false, false, true, false, 0},
      {"ClusterIP, policy Local with external IPs",
       [&](auto& s) {
         local(s);
         s.external_ips = ips({"198.51.100.1"});
         s.has_external_ips = true;
       },
       true, true, true, true, 0},
      {"ClusterIP, policy Local, external IPs of which none parses",
       [&](auto& s) {
         local(s);
         s.has_external_ips = true;
       },
       true, false, true, false, 0},
      {"ClusterIP, policy Local, external IPs of the other family only",
       [&](auto& s) {
         local(s);
         s.external_ips = ips({"2001:db8::1"});
         s.has_external_ips = true;
       },
       true, false, true, false, 0},
      {"NodePort",
       [](auto& s) {
         s.type = ServiceType::kNodePort;
         s.ports[0].node_port = 30080;
       },
       false, true, true, false, 0},
      {"NodePort, Local",
       [&](auto& s) {
         local(s);
         s.type = ServiceType::kNodePort;
         s.ports[0].node_port = 30080;
       },
       true, true, true, true, 0},
      {"LoadBalancer without address or node port, Local",
       [&](auto& s) {
         local(s);
         s.type = ServiceType::kLoadBalancer;
       },
       true, false, true, false, 32000},
      {"LoadBalancer with address, Local",
       [&](auto& s) {
         local(s);
         s.type = ServiceType::kLoadBalancer;
         s.ingress = {{ip("203.0.113.1")}};
       },
       true, true, true, true, 32000},
      {"LoadBalancer of mode Proxy, Local",
       [&](auto& s) {
         local(s);
         s.type = ServiceType::kLoadBalancer;
         s.ingress = {{ip("203.0.113.1"), model::IpMode::kProxy}};
       },
       true, false, true, false, 32000},
      {"LoadBalancer, Local, no health-check port",
       [&](auto& s) {
         local(s);
         s.health_check_node_port = 0;
         s.type = ServiceType::kLoadBalancer;
         s.ingress = {{ip("203.0.113.1")}};
       },
       true, true, true, true, 0},
      {"LoadBalancer, Cluster, a left-over health-check port",
       [](auto& s) {
         s.health_check_node_port = 32000;
         s.type = ServiceType::kLoadBalancer;
         s.ingress = {{ip("203.0.113.1")}};
       },
       false, true, true, false, 0},
      {"internal Local", [](auto& s) { s.internal_traffic_policy = TrafficPolicy::kLocal; }, false, false, false, true,
       0},
      {"internal Local, NodePort",
       [](auto& s) {
         s.internal_traffic_policy = TrafficPolicy::kLocal;
         s.type = ServiceType::kNodePort;
         s.ports[0].node_port = 30080;
       },
       false, true, true, true, 0},
      {"both Local",
       [&](auto& s) {
         local(s);
         s.internal_traffic_policy = TrafficPolicy::kLocal;
         s.type = ServiceType::kNodePort;
         s.ports[0].node_port = 30080;
       },
       true, true, true, true, 0},
      {"a ClusterIP with a left-over node port", [](auto& s) { s.ports[0].node_port = 30080; }, false, true, true,
       false, 0},
  };
  for (const PredicateRow& row : rows) {
    SCOPED_TRACE(row.name);
    model::Service service = make_service("web", {service_port("p", 80)});
    row.edit(service);
    const auto slice = make_slice("s", "web", {slice_port("p", 8080)}, {"10.1.0.1 @self"});
    const ServicePlan plan = plan_of(service, {slice});
    ASSERT_EQ(plan.ports.size(), 1U);
    const ServicePortPlan& port = *plan.ports[0];
    EXPECT_EQ(port.internal.policy_local(), service.internal_traffic_policy == TrafficPolicy::kLocal);
    EXPECT_EQ(port.external.policy_local(), row.external_local);
    EXPECT_EQ(port.externally_accessible, row.externally_accessible);
    EXPECT_EQ(!port.pool_empty(Pool::kCluster), row.uses_cluster);
    EXPECT_EQ(!port.pool_empty(Pool::kLocal), row.uses_local);
    EXPECT_EQ(port.health_check_node_port, row.health_check_port);
    EXPECT_EQ(plan.health_check_node_port, row.health_check_port);
    EXPECT_EQ(port.served_node_port(), service.ports[0].node_port);
  }
}

TEST(PlanService, HidesExternalIpsThatTheSettingsForbidButStaysReachable) {
  model::Service service = make_service("web", {service_port("p", 80)});
  service.external_ips = ips({"198.51.100.1"});
  service.has_external_ips = true;
  const ServicePlan plan = plan_of(service, {}, {}, Settings{"self", false});
  EXPECT_EQ(plan.ports[0]->frontends.size(), 1U);
  EXPECT_TRUE(plan.ports[0]->externally_accessible);
  EXPECT_EQ(plan_of(service, {}).ports[0]->frontends.size(), 2U);
}

TEST(PlanService, LetsTheLastOfTwoPortsOfOneNameAndProtocolCount) {
  const model::Service service =
      make_service("web", {service_port("p", 80), service_port("q", 81), service_port("p", 82)});
  EXPECT_EQ(port_texts(plan_of(service, {})),
            (std::vector<std::string>{"shop/web:p/TCP/IPv4 10.96.0.1:82", "shop/web:q/TCP/IPv4 10.96.0.1:81"}));
}

TEST(PlanService, GivesEachPortAndFamilyItsOwnEndpoints) {
  model::Service service = make_service(
      "web", {service_port("http", 80), service_port("sip", 5060, Protocol::kSctp), service_port("none", 1)},
      {"10.96.0.1", "fd00::1"});
  const std::vector<model::EndpointSlice> slices{
      make_slice("v4-1", "web", {slice_port("http", 8080), slice_port("sip", 5060, Protocol::kSctp)},
                 {"10.1.0.1", "10.1.0.2"}),
      make_slice("v4-2", "web", {slice_port("http", 8081)}, {"10.1.0.3"}),
      make_slice("v6-1", "web", {slice_port("http", 8080)}, {"fd01::1"}, Family::kIPv6),
  };
  const ServicePlan plan = plan_of(service, slices);
  std::vector<std::string> found;
  for (const auto& port : plan.ports) found.push_back(port->key.port_name + " " + reachable_text(*port));
  EXPECT_EQ(found, (std::vector<std::string>{"http 10.1.0.1:8080 10.1.0.2:8080 10.1.0.3:8081", "http [fd01::1]:8080",
                                             "none ", "none ", "sip 10.1.0.1:5060 10.1.0.2:5060", "sip "}));
}

TEST(PlanService, DoesNotDependOnTheOrderOfTheSlices) {
  const model::Service service = make_service("web", {service_port("p", 80)});
  std::vector<model::EndpointSlice> slices{
      make_slice("a", "web", {slice_port("p", 80)}, {"10.1.0.1 @self", "10.1.0.2"}),
      make_slice("b", "web", {slice_port("p", 80)}, {"10.1.0.1 @far", "10.1.0.2 unready"}),
      make_slice("c", "web", {slice_port("p", 80)}, {"10.1.0.2 unready serving terminating"}),
  };
  const ServicePlan expected = plan_of(service, slices);
  EXPECT_EQ(reachable_text(*expected.ports[0]), "10.1.0.1:80")
      << "the last that is not terminating wins, and that is unready";
  std::vector<std::size_t> order{0, 1, 2};
  do {
    const std::vector<model::EndpointSlice> shuffled{slices[order[0]], slices[order[1]], slices[order[2]]};
    EXPECT_EQ(*plan_of(service, shuffled).ports[0], *expected.ports[0]);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(PlanService, RemembersServingEndpointsOfUdpPortsOnly) {
  const model::Service service =
      make_service("dns", {service_port("udp", 53, Protocol::kUdp), service_port("tcp", 53)});
  const ServicePlan plan =
      plan_of(service, {make_slice("s", "dns", {slice_port("udp", 53, Protocol::kUdp), slice_port("tcp", 53)},
                                   {"10.1.0.1", "10.1.0.2 unready", "10.1.0.3 unready serving terminating",
                                    "10.1.0.4 unready serving"})});
  ASSERT_EQ(plan.ports.size(), 2U);
  EXPECT_TRUE(plan.ports[0]->serving.empty());
  EXPECT_EQ(plan.ports[1]->serving,
            (std::vector<AddressPort>{{ip("10.1.0.1"), 53}, {ip("10.1.0.3"), 53}, {ip("10.1.0.4"), 53}}));
  EXPECT_EQ(plan.ports[1]->endpoints_known, 4U);
  EXPECT_EQ(reachable_text(*plan.ports[1]), "10.1.0.1:53");
}

TEST(PlanService, CountsDistinctReadyLocalAddressesForTheHealthCheck) {
  struct Row {
    const char* name;
    std::vector<std::string> first;   // ports http and metrics; the Service does not name metrics
    std::vector<std::string> second;  // port admin
    std::size_t count;
  };
  const Row rows[] = {
      {"none", {}, {}, 0},
      {"remote ones do not count", {"10.1.0.1 @far", "10.1.0.2"}, {}, 0},
      {"one address under two ports", {"10.1.0.1 @self"}, {"10.1.0.1 @self"}, 1},
      {"two addresses under two ports", {"10.1.0.1 @self"}, {"10.1.0.2 @self"}, 2},
      {"unready ones do not count", {"10.1.0.1 @self unready", "10.1.0.2 @self"}, {}, 1},
      {"terminating ones do not count, though they are used", {"10.1.0.1 @self unready serving terminating"}, {}, 0},
      {"published while not ready counts", {"10.1.0.1 @self terminating"}, {}, 1},
  };
  for (const Row& row : rows) {
    model::Service service =
        make_service("web", {service_port("http", 80), service_port("admin", 81)}, {"10.96.0.1", "fd00::1"});
    service.type = ServiceType::kLoadBalancer;
    service.external_traffic_policy = TrafficPolicy::kLocal;
    service.health_check_node_port = 32000;
    const std::vector<model::EndpointSlice> slices{
        make_slice("a", "web", {slice_port("http", 8080), slice_port("metrics", 9090)}, row.first),
        make_slice("b", "web", {slice_port("admin", 8081)}, row.second),
        make_slice("c", "web", {slice_port("http", 8080)}, {"fd01::1 @self"}, Family::kIPv6)};
    EXPECT_EQ(plan_of(service, slices).local_ready, (std::array<std::size_t, 2>{row.count, 1})) << row.name;
    service.cluster_ips.pop_back();
    EXPECT_EQ(plan_of(service, slices).local_ready, (std::array<std::size_t, 2>{row.count, 0}))
        << row.name << ", served in IPv4 alone";
    service.external_traffic_policy = TrafficPolicy::kCluster;
    EXPECT_EQ(plan_of(service, slices).local_ready, (std::array<std::size_t, 2>{0, 0}))
        << row.name << ", no health check";
  }
}

TEST(PlanService, HasNoHealthCheckForAServiceThatIsNotServed) {
  struct Row {
    const char* name;
    Edit edit;
    std::uint16_t port;
  };
  const Row rows[] = {
      {"as it is", [](auto&) {}, 32000},
      {"no ports", [](auto& s) { s.ports.clear(); }, 0},
      {"no cluster IP", [](auto& s) { s.cluster_ips.clear(); }, 0},
      {"another proxy's", [](auto& s) { s.other_proxy = true; }, 0},
      {"policy Cluster", [](auto& s) { s.external_traffic_policy = TrafficPolicy::kCluster; }, 0},
      {"a NodePort", [](auto& s) { s.type = ServiceType::kNodePort; }, 0},
      {"none allocated", [](auto& s) { s.health_check_node_port = 0; }, 0},
  };
  for (const Row& row : rows) {
    model::Service service = make_service("web", {service_port("http", 80)});
    service.type = ServiceType::kLoadBalancer;
    service.external_traffic_policy = TrafficPolicy::kLocal;
    service.health_check_node_port = 32000;
    row.edit(service);
    const ServicePlan plan = plan_of(service, {make_slice("a", "web", {slice_port("http", 80)}, {"10.1.0.1 @self"})});
    EXPECT_EQ(plan.health_check_node_port, row.port) << row.name;
    EXPECT_EQ(plan.local_ready[0], row.port == 0 ? 0U : 1U) << row.name;
  }
}

TEST(PlanService, CountsPortsForTheHealthCheckThatTheServiceDoesNotName) {
  model::Service service = make_service("web", {service_port("http", 80)});
  service.type = ServiceType::kLoadBalancer;
  service.external_traffic_policy = TrafficPolicy::kLocal;
  service.health_check_node_port = 32000;
  const ServicePlan plan =
      plan_of(service, {make_slice("a", "web", {slice_port("metrics", 9090)}, {"10.1.0.1 @self"})});
  EXPECT_EQ(plan.local_ready[0], 1U);
  EXPECT_FALSE(plan.ports[0]->has_endpoints);
}

TEST(PlanService, WeighsRealServersByTheSliceThenByTheServiceThenEvenly) {
  model::Service service = make_service("web", {service_port("p", 80)});
  service.sluice_annotations = {{"sluice.dev/weight", "zone/a=3,10.1.0.2=7"}};
  model::EndpointSlice slice =
      make_slice("web-1", "web", {slice_port("p", 8080)}, {"10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"});
  slice.endpoints[0].zone = "a";
  slice.endpoints[2].zone = "a";
  slice.endpoints[2].weight = 0;
  const auto weights = [](const ServicePlan& plan) {
    std::string text;
    for (const RealServer& server : plan.ports.at(0)->real_servers) text += std::to_string(server.weight) + " ";
    return text;
  };
  EXPECT_EQ(weights(plan_of(service, {slice})), "3 7 0 1 ");
  service.sluice_annotations = {{"sluice.dev/weight", "many"}};
  EXPECT_EQ(weights(plan_of(service, {slice})), "1 1 0 1 ") << "what cannot be read counts as absent";
}

}  // namespace
}  // namespace sluice::plan
