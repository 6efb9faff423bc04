// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "plan/plan.h"
#include "plan/test_objects.h"

namespace sluice::plan {
namespace {

using namespace test;

std::string text(const Route& route) {
  switch (route.verdict) {
    case Verdict::kReject:
      return "reject";
    case Verdict::kDrop:
      return "drop";
    case Verdict::kForward:
      break;
  }
  return std::string(route.pool == Pool::kCluster ? "cluster" : "local") + (route.masquerade ? "+masq" : "");
}

// "pod node outside".
std::string routes_text(const Routes& routes) {
  return text(routes.pod) + " " + text(routes.node) + " " + text(routes.outside);
}

enum class Detector { kCidr, kNone };

MasqueradePolicy policy(Detector detector, bool masquerade_all) {
  MasqueradePolicy result;
  result.masquerade_all = masquerade_all;
  if (detector == Detector::kCidr) {
    result.detector.kind = LocalDetector::Kind::kCidr;
    result.detector.cidr = cidr("10.1.0.0/16");
  }
  return result;
}

const std::vector<std::string> kHereAndFar{"10.1.0.1 @self", "10.1.0.2 @far"};
const std::vector<std::string> kFar{"10.1.0.2 @far"};
const std::vector<std::string> kFarDraining{"10.1.0.2 @far unready serving terminating"};
const std::vector<std::string> kHereDraining{"10.1.0.1 @self unready serving terminating"};
const std::vector<std::string> kUnready{"10.1.0.1 @self unready"};
const std::vector<std::string> kNobody{};

ServicePortPlanPtr planned(bool internal_local, bool external_local, const std::vector<std::string>& endpoints,
                           const MasqueradePolicy& policy) {
  model::Service service = make_service("web", {service_port("p", 80, Protocol::kTcp, 30080)});
  service.type = model::ServiceType::kLoadBalancer;
  service.ingress = {{ip("203.0.113.1")}};
  service.external_ips = ips({"198.51.100.1"});
  service.has_external_ips = true;
  if (internal_local) service.internal_traffic_policy = model::TrafficPolicy::kLocal;
  if (external_local) service.external_traffic_policy = model::TrafficPolicy::kLocal;
  return plan_of(service, {make_slice("s", "web", {slice_port("p", 8080)}, endpoints)}, {},
                 {"self", true, {policy, {}}})
      .ports.at(0);
}

struct Row {
  const char* name;
  bool internal_local;
  bool external_local;
  Detector detector;
  bool masquerade_all;
  std::vector<std::string> endpoints;
  const char* cluster_ip;  // pod node outside
  const char* external;    // the same for external IP, load-balancer IP and node port
};

void expect_routes(const ServicePortPlan& port, const Row& row) {
  ASSERT_EQ(port.frontends.size(), 4U);
  for (const Frontend& frontend : port.frontends) {
    EXPECT_EQ(routes_text(port.routes(frontend)), frontend.internal() ? row.cluster_ip : row.external)
        << "kind " << static_cast<int>(frontend.kind);
  }
}

TEST(Frontends, FollowTheForwardingTruthTable) {
  const char* masq = "cluster+masq cluster+masq cluster+masq";
  const char* inside = "cluster cluster+masq cluster+masq";
  const Row rows[] = {
      {"both Cluster", false, false, Detector::kCidr, false, kHereAndFar, inside, masq},
      {"both Cluster, all far", false, false, Detector::kCidr, false, kFar, inside, masq},
      {"internal Local", true, false, Detector::kCidr, false, kHereAndFar, "local local+masq local+masq", masq},
      {"external Local", false, true, Detector::kCidr, false, kHereAndFar, inside, "cluster cluster+masq local"},
      {"both Local", true, true, Detector::kCidr, false, kHereAndFar, "local local+masq local+masq",
       "cluster cluster+masq local"},
      {"masqueradeAll, both Cluster", false, false, Detector::kCidr, true, kHereAndFar, masq, masq},
      {"masqueradeAll, internal Local", true, false, Detector::kCidr, true, kHereAndFar,
       "local+masq local+masq local+masq", masq},
      {"masqueradeAll, external Local", false, true, Detector::kCidr, true, kHereAndFar, masq,
       "cluster cluster+masq local"},
      {"no detector, both Cluster", false, false, Detector::kNone, false, kHereAndFar, "cluster cluster cluster", masq},
      {"no detector, internal Local", true, false, Detector::kNone, false, kHereAndFar, "local local local", masq},
      {"no detector, external Local: pods count as outside", false, true, Detector::kNone, false, kHereAndFar,
       "cluster cluster cluster", "local cluster+masq local"},
      {"no detector, masqueradeAll", false, true, Detector::kNone, true, kHereAndFar, masq, "local cluster+masq local"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    expect_routes(
        *planned(row.internal_local, row.external_local, row.endpoints, policy(row.detector, row.masquerade_all)), row);
  }
}

TEST(Frontends, RejectOrDropWithoutUsableEndpoints) {
  const char* reject = "reject reject reject";
  const char* drop = "drop drop drop";
  const char* masq = "cluster+masq cluster+masq cluster+masq";
  const char* inside = "cluster cluster+masq cluster+masq";
  const Row rows[] = {
      {"nobody, both Cluster", false, false, Detector::kCidr, false, kNobody, reject, reject},
      {"nobody, both Local", true, true, Detector::kCidr, false, kNobody, reject, reject},
      {"unready only, both Cluster", false, false, Detector::kCidr, false, kUnready, reject, reject},
      {"unready only, both Local", true, true, Detector::kCidr, true, kUnready, reject, reject},
      {"internal Local, none here", true, false, Detector::kCidr, false, kFar, drop, masq},
      {"external Local, none here: insiders are short-circuited", false, true, Detector::kCidr, false, kFar, inside,
       "cluster cluster+masq drop"},
      {"both Local, none here", true, true, Detector::kCidr, false, kFar, drop, "cluster cluster+masq drop"},
      {"external Local, none here, no detector", false, true, Detector::kNone, false, kFar, "cluster cluster cluster",
       "drop cluster+masq drop"},
      {"external Local, far ones terminating", false, true, Detector::kCidr, false, kFarDraining, inside,
       "cluster cluster+masq drop"},
      {"internal Local, far ones terminating", true, false, Detector::kCidr, false, kFarDraining, drop, masq},
      {"both Local, one here terminating", true, true, Detector::kCidr, false, kHereDraining,
       "local local+masq local+masq", "cluster cluster+masq local"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    expect_routes(
        *planned(row.internal_local, row.external_local, row.endpoints, policy(row.detector, row.masquerade_all)), row);
  }
}

// kube-proxy: an internal-only Service has no cluster pool, so that its has_endpoints comes from the scan of all
// endpoints.
TEST(Frontends, DropOnAnInternalOnlyServiceWithoutLocalEndpoints) {
  model::Service service = make_service("web", {service_port("p", 80)});
  service.internal_traffic_policy = model::TrafficPolicy::kLocal;
  const auto port = plan_of(service, {make_slice("s", "web", {slice_port("p", 8080)}, kFar)}).ports.at(0);
  ASSERT_EQ(port->frontends.size(), 1U) << "no address beside the cluster IP";
  EXPECT_EQ(routes_text(port->internal), "drop drop drop");
}

TEST(Frontends, ListClusterIpExternalIpsLoadBalancerIpsAndNodePort) {
  model::Service service = make_service("web", {service_port("p", 80, Protocol::kTcp, 30080)});
  service.type = model::ServiceType::kLoadBalancer;
  service.ingress = {{ip("203.0.113.1")}, {ip("203.0.113.2")}};
  service.external_ips = ips({"198.51.100.2", "198.51.100.1"});
  service.has_external_ips = true;
  const auto port = plan_of(service, {}).ports.at(0);
  std::vector<std::string> found;
  for (const Frontend& frontend : port->frontends) {
    found.push_back(frontend.kind == FrontendKind::kNodePort ? "node port " + std::to_string(frontend.port)
                                                             : join_host_port(frontend.address, frontend.port));
  }
  EXPECT_EQ(found, (std::vector<std::string>{"10.96.0.1:80", "198.51.100.2:80", "198.51.100.1:80", "203.0.113.1:80",
                                             "203.0.113.2:80", "node port 30080"}));
}

TEST(Frontends, FilterLoadBalancerIpsAlone) {
  model::Service service = make_service("web", {service_port("p", 80, Protocol::kTcp, 30080)});
  service.type = model::ServiceType::kLoadBalancer;
  service.ingress = {{ip("203.0.113.1")}};
  service.external_ips = ips({"198.51.100.1"});
  service.has_external_ips = true;
  const auto filtered_kinds = [&service](const std::vector<std::string>& endpoints) {
    std::vector<FrontendKind> kinds;
    const auto port = plan_of(service, {make_slice("s", "web", {slice_port("p", 8080)}, endpoints)}).ports.at(0);
    for (const Frontend& frontend : port->frontends) {
      if (frontend.filtered) kinds.push_back(frontend.kind);
    }
    return kinds;
  };
  EXPECT_TRUE(filtered_kinds(kFar).empty()) << "no ranges";
  service.source_ranges = {cidr("192.0.2.0/24")};
  EXPECT_EQ(filtered_kinds(kFar), std::vector<FrontendKind>{FrontendKind::kLoadBalancerIp});
  EXPECT_EQ(filtered_kinds(kNobody), filtered_kinds(kFar)) << "the ranges come before the refusal";
  service.source_ranges.push_back(cidr("0.0.0.0/0"));
  EXPECT_TRUE(filtered_kinds(kFar).empty()) << "a /0 opens the Service";
}

TEST(ServicePortKey, PrintsLikeKubeProxy) {
  EXPECT_EQ((ServicePortKey{{"default", "kubernetes"}, "https", Protocol::kTcp, Family::kIPv4}.printed_name()),
            "default/kubernetes:https");
  EXPECT_EQ((ServicePortKey{{"default", "web"}, "", Protocol::kUdp, Family::kIPv6}.printed_name()), "default/web");
}

}  // namespace
}  // namespace sluice::plan
