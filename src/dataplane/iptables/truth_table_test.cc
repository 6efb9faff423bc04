// SPDX-License-Identifier: Apache-2.0
// plan::route() determines where a new connection goes, by its destination and its source. The encoder expresses that
// in iptables rules, some forty for a Service port that has everything. Here packets are traced through those rules,
// and must end where the plan says: for every combination of policies, endpoints, ranges, detectors and sources.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>

#include "dataplane/iptables/encode.h"
#include "dataplane/iptables/test_rule_tracer.h"
#include "plan/planner.h"

namespace sluice::dataplane::iptables {
namespace {

// kBalancer: the packet comes from the load-balancer IP itself, like those that a balancer keeps on the node.
enum class Source : std::uint8_t { kPod, kNode, kOutside, kBalancer };
constexpr std::array kSources{Source::kPod, Source::kNode, Source::kOutside, Source::kBalancer};

// Addresses of both families under one name.
struct Net {
  Family family;
  const char* pods;
  const char* cluster_ip;
  const char* external_ip;
  const char* balancer_ip;
  const char* node;
  const char* pod;
  const char* outside;
  const char* others;  // a range that contains none of the above
  std::array<const char*, 3> servers;
};

constexpr Net kNets[] = {
    {Family::kIPv4,
     "10.244.0.0/16",
     "10.96.0.1",
     "203.0.113.1",
     "203.0.113.2",
     "192.0.2.1",
     "10.244.1.9",
     "198.51.100.9",
     "192.168.0.0/24",
     {"10.244.1.1", "10.244.1.2", "10.244.2.1"}},
    {Family::kIPv6,
     "fd00:244::/32",
     "fd00:96::1",
     "2001:db8:1::1",
     "2001:db8:1::2",
     "2001:db8:2::1",
     "fd00:244:1::9",
     "2001:db8:3::9",
     "2001:db8:4::/64",
     {"fd00:244:1::1", "fd00:244:1::2", "fd00:244:2::1"}},
};

enum class Server : std::uint8_t { kNone, kReady, kDraining, kUnready };
using Servers = std::array<Server, 3>;  // two on this node, one elsewhere

constexpr Servers kServerRows[] = {
    {Server::kNone, Server::kNone, Server::kNone},
    {Server::kReady, Server::kReady, Server::kReady},
    {Server::kReady, Server::kNone, Server::kReady},
    {Server::kNone, Server::kNone, Server::kReady},
    {Server::kNone, Server::kNone, Server::kDraining},
    {Server::kDraining, Server::kNone, Server::kReady},
    {Server::kDraining, Server::kReady, Server::kNone},
    {Server::kUnready, Server::kUnready, Server::kUnready},
    {Server::kDraining, Server::kDraining, Server::kDraining},
};

enum class Ranges : std::uint8_t { kNone, kOutside, kNodeToo, kOthers };

struct Case {
  const Net& net;
  bool internal_local;
  bool external_local;
  Servers servers;
  Ranges ranges;
  bool affinity;
};

plan::Planner planned(const Case& row, const plan::MasqueradePolicy& policy) {
  model::Service service;
  service.key = {"shop", "web"};
  service.type = model::ServiceType::kLoadBalancer;
  service.cluster_ips = {ip(row.net.cluster_ip)};
  service.external_ips = {ip(row.net.external_ip)};
  service.has_external_ips = true;
  service.ingress = {{ip(row.net.balancer_ip)}};
  service.ports = {{"p", Protocol::kTcp, 80, 30080}};
  if (row.internal_local) service.internal_traffic_policy = model::TrafficPolicy::kLocal;
  if (row.external_local) service.external_traffic_policy = model::TrafficPolicy::kLocal;
  if (row.affinity) service.affinity_seconds = 600;
  const auto range = [&](const char* address) {
    service.source_ranges.emplace_back(ip(address), static_cast<unsigned>(8 * ip(address).bytes().size()));
  };
  if (row.ranges == Ranges::kOthers) service.source_ranges.push_back(cidr(row.net.others));
  if (row.ranges == Ranges::kOutside || row.ranges == Ranges::kNodeToo) range(row.net.outside);
  if (row.ranges == Ranges::kNodeToo) range(row.net.node);
  model::EndpointSlice slice;
  slice.key = {"shop", "web-1"};
  slice.service_name = "web";
  slice.family = row.net.family;
  slice.ports = {{"p", Protocol::kTcp, 8080}};
  for (std::size_t i = 0; i < row.servers.size(); ++i) {
    if (row.servers[i] == Server::kNone) continue;
    model::Endpoint endpoint;
    endpoint.address = ip(row.net.servers[i]);
    endpoint.node_name = i < 2 ? "self" : "far";
    endpoint.ready = row.servers[i] == Server::kReady;
    endpoint.serving = row.servers[i] != Server::kUnready;
    endpoint.terminating = row.servers[i] == Server::kDraining;
    slice.endpoints.push_back(endpoint);
  }
  plan::NodeFacts facts;
  facts.node_ip[static_cast<std::size_t>(row.net.family)] = ip(row.net.node);
  model::Update update;
  update.services = {service};
  update.slices = {slice};
  model::Snapshot snapshot;
  (void)snapshot.apply(std::move(update));
  plan::Planner planner({"self", true, {policy, policy}});
  (void)planner.replan_all(snapshot, facts);
  return planner;
}

std::vector<plan::MasqueradePolicy> policies(const Net& net) {
  std::vector<plan::MasqueradePolicy> all;
  for (const bool masquerade_all : {false, true}) {
    for (const auto kind : {plan::LocalDetector::Kind::kNone, plan::LocalDetector::Kind::kCidr,
                            plan::LocalDetector::Kind::kInterface, plan::LocalDetector::Kind::kInterfacePrefix}) {
      plan::MasqueradePolicy policy;
      policy.masquerade_all = masquerade_all;
      policy.detector.kind = kind;
      if (kind == plan::LocalDetector::Kind::kCidr) policy.detector.cidr = cidr(net.pods);
      if (kind == plan::LocalDetector::Kind::kInterface) policy.detector.interface = "veth7";
      if (kind == plan::LocalDetector::Kind::kInterfacePrefix) policy.detector.interface = "veth";
      all.push_back(policy);
    }
  }
  return all;
}

Packet packet_from(const Net& net, Source source, const plan::Frontend& frontend) {
  Packet packet;
  const std::array<const char*, kSources.size()> addresses{net.pod, net.node, net.outside, net.balancer_ip};
  packet.from = ip(addresses.at(static_cast<std::size_t>(source)));
  packet.interface = source == Source::kPod ? "veth7" : source == Source::kNode ? "" : "eth0";
  packet.from_node = source == Source::kNode;
  packet.to_node_ports = frontend.kind == plan::FrontendKind::kNodePort;
  packet.to = packet.to_node_ports ? ip(net.node) : frontend.address;
  packet.port = frontend.port;
  return packet;
}

bool let_in(const Case& row, Source source) {
  switch (row.ranges) {
    case Ranges::kNone:
      return true;
    case Ranges::kOutside:
      return source == Source::kOutside;
    case Ranges::kNodeToo:
      return source != Source::kPod;  // and with the node the balancer's own address
    case Ranges::kOthers:
      return false;
  }
  return false;
}

void expect_route(const Case& row, const plan::Planner& planner, const plan::LocalDetector& detector, Tracer& tracer,
                  const plan::Frontend& frontend, Source source) {
  const Packet packet = packet_from(row.net, source, frontend);
  const plan::Routing routing = plan::route(packet, planner.plan(), detector);
  ASSERT_EQ(routing.frontend, frontend);
  ASSERT_EQ(routing.fate == plan::Fate::kFiltered, frontend.filtered && !let_in(row, source));
  expect_routed(tracer, packet, routing);
}

// A real server that calls its own Service must see the call come from another address.
void expect_hairpin_masqueraded(const Net& net, const plan::ServicePortPlan& port, Tracer& tracer) {
  for (const plan::RealServer& server : port.real_servers) {
    if (!server.on_this_node) continue;
    Packet packet = packet_from(net, Source::kPod, *port.cluster_frontend());
    packet.from = server.address;
    for (const Outcome& outcome : tracer.nat(packet)) {
      ASSERT_TRUE(outcome.masqueraded || outcome.target != server.to_string()) << server.to_string();
    }
  }
}

std::string describe(const Case& row, const plan::MasqueradePolicy& policy, const plan::Frontend& frontend,
                     Source source) {
  return fmt::format(
      "{}, internal {}, external {}, servers {} {} {}, ranges {}, affinity {}, detector {}, masqueradeAll {}, "
      "frontend {}, source {}",
      to_string(row.net.family), row.internal_local ? "Local" : "Cluster", row.external_local ? "Local" : "Cluster",
      static_cast<int>(row.servers[0]), static_cast<int>(row.servers[1]), static_cast<int>(row.servers[2]),
      static_cast<int>(row.ranges), row.affinity, static_cast<int>(policy.detector.kind), policy.masquerade_all,
      static_cast<int>(frontend.kind), static_cast<int>(source));
}

void expect_truth(const Case& row, std::size_t& routes) {
  for (const plan::MasqueradePolicy& policy : policies(row.net)) {
    const plan::Planner planner = planned(row, policy);
    const plan::ServicePortPlanPtr port = planner.plan().services.at({"shop", "web"}).ports.at(0);
    EncodeSettings settings;
    settings.family = row.net.family;
    settings.detector = policy.detector;
    Tracer tracer(Encoder(settings).encode_port(*port, Detail::kRules));
    ASSERT_EQ(port->frontends.size(), 4U);
    for (const plan::Frontend& frontend : port->frontends) {
      for (const Source source : kSources) {
        expect_route(row, planner, policy.detector, tracer, frontend, source);
        if (testing::Test::HasFatalFailure()) {
          ADD_FAILURE() << describe(row, policy, frontend, source);
          return;
        }
        ++routes;
      }
    }
    expect_hairpin_masqueraded(row.net, *port, tracer);
  }
}

TEST(TruthTable, PacketsGoWhereThePlanSaysInEveryCombination) {
  std::size_t routes = 0;
  for (const Net& net : kNets) {
    for (const bool internal_local : {false, true}) {
      for (const bool external_local : {false, true}) {
        for (const Servers& servers : kServerRows) {
          for (const Ranges ranges : {Ranges::kNone, Ranges::kOutside, Ranges::kNodeToo, Ranges::kOthers}) {
            for (const bool affinity : {false, true}) {
              expect_truth({net, internal_local, external_local, servers, ranges, affinity}, routes);
              if (HasFatalFailure()) return;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(routes, std::size_t{2} * 2 * 2 * std::size(kServerRows) * 4 * 2 * 8 * 4 * kSources.size());
}

}  // namespace
}  // namespace sluice::dataplane::iptables
