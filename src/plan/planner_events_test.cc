// SPDX-License-Identifier: Apache-2.0
// Everyday events in clusters, and what each changes: slices that gain and lose ports and endpoints,
// Services that are added, change their type and are removed. Lines of text represent Changes, see test_follower.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "plan/test_follower.h"

namespace sluice::plan {
namespace {

using namespace test;
using model::ServiceType;
using model::TrafficPolicy;
using model::Update;
using Slices = std::vector<model::EndpointSlice>;

// shop/web with the ports p and q and one without a name, shop/dns with a UDP port u; web answers health checks.
void set_services(Follower& f) {
  model::Service web = make_service("web", {service_port("p", 80), service_port("q", 81), service_port("", 82)});
  web.type = ServiceType::kLoadBalancer;
  web.external_traffic_policy = TrafficPolicy::kLocal;
  web.health_check_node_port = 32000;
  f.set(web);
  f.set(make_service("dns", {service_port("u", 53, Protocol::kUdp)}, {"10.96.0.2"}));
}

model::EndpointSlice web_slice(std::string name, std::vector<model::EndpointPort> ports,
                               const std::vector<std::string>& endpoints) {
  return make_slice(std::move(name), "web", std::move(ports), endpoints);
}
model::EndpointSlice dns_slice(std::string name, std::uint16_t number, const std::vector<std::string>& endpoints) {
  return make_slice(std::move(name), "dns", {slice_port("u", number, Protocol::kUdp)}, endpoints);
}

struct EventRow {
  const char* name;
  Slices before;
  Slices after;  // a slice that is not in it is removed
  std::vector<std::string> changes;
  const char* health;
};

std::vector<EventRow> slice_events() {
  const auto p = slice_port("p", 80);
  const auto q = slice_port("q", 81);
  const std::string draining = "10.1.0.1 @self unready serving terminating";
  return {
      {"nothing before and nothing after", {}, {}, {}, "32000 0 -"},
      {"the same, a port without a name",
       {web_slice("a", {slice_port("", 82)}, {"10.1.0.1"})},
       {web_slice("a", {slice_port("", 82)}, {"10.1.0.1"})},
       {},
       "32000 0 -"},
      {"the same, local, two ports, two slices",
       {web_slice("a", {p, q}, {"10.1.0.1 @self"}), web_slice("b", {p}, {"10.1.0.2 @self"})},
       {web_slice("a", {p, q}, {"10.1.0.1 @self"}), web_slice("b", {p}, {"10.1.0.2 @self"})},
       {},
       "32000 2 -"},
      {"a slice comes to a port without a name",
       {},
       {web_slice("a", {slice_port("", 82)}, {"10.1.0.1 @self"})},
       {"~shop/web [] [10.1.0.1:82]"},
       "32000 1 -"},
      {"a slice goes", {web_slice("a", {p}, {"10.1.0.1"})}, {}, {"~shop/web:p [10.1.0.1:80] []"}, "32000 0 -"},
      {"an address and a port more",
       {web_slice("a", {p}, {"10.1.0.1"})},
       {web_slice("a", {p, q}, {"10.1.0.1", "10.1.0.2 @self"})},
       {"~shop/web:p [10.1.0.1:80] [10.1.0.1:80 10.1.0.2:80]", "~shop/web:q [] [10.1.0.1:81 10.1.0.2:81]"},
       "32000 1 -"},
      {"an address and a port less",
       {web_slice("a", {p, q}, {"10.1.0.1", "10.1.0.2 @self"})},
       {web_slice("a", {p}, {"10.1.0.1"})},
       {"~shop/web:p [10.1.0.1:80 10.1.0.2:80] [10.1.0.1:80]", "~shop/web:q [10.1.0.1:81 10.1.0.2:81] []"},
       "32000 0 -"},
      {"a second slice, of the other port",
       {web_slice("a", {p}, {"10.1.0.1"})},
       {web_slice("a", {p}, {"10.1.0.1"}), web_slice("b", {q}, {"10.1.0.2 @self"})},
       {"~shop/web:q [] [10.1.0.2:81]"},
       "32000 1 -"},
      {"a port is renamed to one that the Service does not name",
       {web_slice("a", {p}, {"10.1.0.1"})},
       {web_slice("a", {slice_port("other", 80)}, {"10.1.0.1"})},
       {"~shop/web:p [10.1.0.1:80] []"},
       "32000 0 -"},
      {"a port is renamed to the other one",
       {web_slice("a", {p}, {"10.1.0.1"})},
       {web_slice("a", {slice_port("q", 80)}, {"10.1.0.1"})},
       {"~shop/web:p [10.1.0.1:80] []", "~shop/web:q [] [10.1.0.1:80]"},
       "32000 0 -"},
      {"a port gets another number",
       {dns_slice("d", 53, {"10.1.0.1"})},
       {dns_slice("d", 5353, {"10.1.0.1"})},
       {"~shop/dns:u [10.1.0.1:53] [10.1.0.1:5353]"},
       "32000 0 -"},
      {"much at once, in two Services",
       {web_slice("a", {p}, {"10.1.0.1", "10.1.0.2 @self"}), web_slice("b", {q}, {"10.1.0.3 @self"}),
        dns_slice("d", 53, {"10.1.0.4", "10.1.0.5"})},
       {web_slice("a", {p, slice_port("", 9)}, {"10.1.0.2 @self", "10.1.0.6"}), web_slice("c", {q}, {"10.1.0.3"}),
        dns_slice("e", 54, {"10.1.0.5"})},
       {"~shop/dns:u [10.1.0.4:53 10.1.0.5:53] [10.1.0.5:54]", "~shop/web [] [10.1.0.2:9 10.1.0.6:9]",
        "~shop/web:p [10.1.0.1:80 10.1.0.2:80] [10.1.0.2:80 10.1.0.6:80]", "~shop/web:q [10.1.0.3:81] [10.1.0.3:81]"},
       "32000 1 -"},
      {"ready to terminating: used still, healthy no more",
       {web_slice("a", {p}, {"10.1.0.1 @self"})},
       {web_slice("a", {p}, {draining})},
       {},
       "32000 0 -"},
      {"terminating to gone",
       {web_slice("a", {p}, {draining})},
       {web_slice("a", {p}, {})},
       {"~shop/web:p [10.1.0.1:80] []"},
       "32000 0 -"},
      {"terminating to a ready one elsewhere",
       {web_slice("a", {p}, {draining})},
       {web_slice("a", {p}, {draining, "10.1.0.2"})},
       {"~shop/web:p [10.1.0.1:80] [10.1.0.1:80 10.1.0.2:80]"},
       "32000 0 -"},
  };
}

TEST(PlannerEvents, SlicesChangeThePortsThatTheyFeedAndNoOthers) {
  for (const EventRow& row : slice_events()) {
    SCOPED_TRACE(row.name);
    Follower f;
    set_services(f);
    // The local pool of an external policy needs a way in.
    model::Service web = *f.snapshot.service({"shop", "web"});
    web.ingress = {{ip("203.0.113.1")}};
    f.set(web);
    Update before;
    before.slices = row.before;
    f.apply(std::move(before));
    Update after;
    after.slices = row.after;
    for (const model::EndpointSlice& slice : row.before) {
      const bool stays = std::any_of(row.after.begin(), row.after.end(),
                                     [&slice](const model::EndpointSlice& other) { return other.key == slice.key; });
      if (!stays) after.slices_removed.push_back(slice.key);
    }
    EXPECT_EQ(texts(f.apply(std::move(after))), row.changes);
    EXPECT_EQ(f.health_text("web"), row.health);
  }
}

TEST(PlannerEvents, ServicesOfEveryTypeComeAndGo) {
  Follower f;
  const auto of_type = [](const char* name, ServiceType type, const char* cluster_ip) {
    model::Service service =
        make_service(name, {service_port("p", 80), service_port("q", 81, Protocol::kUdp)}, {cluster_ip});
    service.type = type;
    if (type != ServiceType::kClusterIp) service.ports[0].node_port = 30080;
    return service;
  };
  Update all;
  all.services = {of_type("cluster", ServiceType::kClusterIp, "10.96.0.1"),
                  of_type("node", ServiceType::kNodePort, "10.96.0.2"),
                  of_type("balanced", ServiceType::kLoadBalancer, "10.96.0.3"),
                  of_type("local", ServiceType::kLoadBalancer, "10.96.0.4"),
                  of_type("named", ServiceType::kExternalName, "10.96.0.5")};
  all.services[3].external_traffic_policy = TrafficPolicy::kLocal;
  all.services[3].health_check_node_port = 32000;
  const std::vector<model::Service> services = all.services;
  EXPECT_EQ(f.apply(std::move(all)).size(), 8U);
  EXPECT_EQ(f.health_text("local"), "32000 0 -");
  EXPECT_EQ(f.planner.health_checks().size(), 1U);

  Update fewer;
  fewer.services = {of_type("node", ServiceType::kClusterIp, "10.96.0.2")};
  fewer.services_removed = {{"shop", "cluster"}, {"shop", "local"}, {"shop", "named"}};
  EXPECT_EQ(texts(f.apply(std::move(fewer))),
            (std::vector<std::string>{"-shop/cluster:p []", "-shop/cluster:q []", "-shop/local:p []",
                                      "-shop/local:q []", "~shop/node:p [] []"}));
  EXPECT_TRUE(f.planner.health_checks().empty());
  EXPECT_EQ(f.planner.plan().services.size(), 2U);
}

TEST(PlannerEvents, AnEditedServiceChangesThePortsThatTheEditConcerns) {
  struct Row {
    const char* name;
    std::function<void(model::Service&)> edit;
    std::vector<std::string> changes;
  };
  const std::vector<std::string> both{"~shop/web:p [] []", "~shop/web:q [] []"};
  const Row rows[] = {
      {"a port more", [](auto& s) { s.ports.push_back(service_port("r", 82)); }, {"+shop/web:r []"}},
      {"a port less", [](auto& s) { s.ports.pop_back(); }, {"-shop/web:q []"}},
      {"the order of the ports", [](auto& s) { std::swap(s.ports[0], s.ports[1]); }, {}},
      {"a port's number", [](auto& s) { s.ports[1].port = 83; }, {"~shop/web:q [] []"}},
      {"a port's protocol",
       [](auto& s) { s.ports[1].protocol = Protocol::kUdp; },
       {"-shop/web:q []", "+shop/web:q []"}},
      {"a node port", [](auto& s) { s.ports[0].node_port = 30080; }, {"~shop/web:p [] []"}},
      {"affinity goes on", [](auto& s) { s.affinity_seconds = 10800; }, both},
      {"an external IP",
       [](auto& s) {
         s.external_ips = {ip("198.51.100.1")};
         s.has_external_ips = true;
       },
       both},
      {"an address of the balancer", [](auto& s) { s.ingress = {{ip("203.0.113.1")}}; }, both},
      {"an address of the balancer of mode Proxy",
       [](auto& s) { s.ingress = {{ip("203.0.113.1"), model::IpMode::kProxy}}; },
       {}},
      {"source ranges", [](auto& s) { s.source_ranges = {cidr("192.0.2.0/24")}; }, both},
      {"a source range of everybody", [](auto& s) { s.source_ranges = {cidr("0.0.0.0/0")}; }, {}},
      {"internal policy Local", [](auto& s) { s.internal_traffic_policy = TrafficPolicy::kLocal; }, both},
      {"external policy Local without a meaning",
       [](auto& s) { s.external_traffic_policy = TrafficPolicy::kLocal; },
       {}},
      {"the type alone", [](auto& s) { s.type = ServiceType::kNodePort; }, {}},
      {"to a name elsewhere",
       [](auto& s) { s.type = ServiceType::kExternalName; },
       {"-shop/web:p []", "-shop/web:q []"}},
      {"to another proxy", [](auto& s) { s.other_proxy = true; }, {"-shop/web:p []", "-shop/web:q []"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    Follower f;
    const model::Service plain = make_service("web", {service_port("p", 80), service_port("q", 81)});
    f.set(plain);
    model::Service edited = plain;
    row.edit(edited);
    EXPECT_EQ(texts(f.set(edited)), row.changes);
    EXPECT_EQ(f.set(plain).size(), row.changes.size()) << "and back";
    EXPECT_EQ(f.set(plain).size(), 0U);
  }
}

}  // namespace
}  // namespace sluice::plan
