// SPDX-License-Identifier: Apache-2.0
// Random Services that claim each other's addresses, and packets to and around them, for the tests that compare a data
// plane with route().
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/ip_literals.h"
#include "plan/planner.h"
#include "plan/route.h"

namespace sluice::plan::test {

// Addresses of both families, distinguished by their place.
struct RandomNet {
  Family family = Family::kIPv4;
  [[nodiscard]] IpAddress at(const char* net, unsigned host) const {
    return ip((family == Family::kIPv4 ? std::string(net) + "." : "2001:db8:" + six(net) + "::") +
              std::to_string(host));
  }
  [[nodiscard]] Cidr range(const char* net) const { return {at(net, 0), family == Family::kIPv4 ? 24U : 64U}; }

 private:
  static std::string six(const char* net) {
    unsigned hash = 0;
    for (const char* c = net; *c != 0; ++c) hash = hash * 31 + static_cast<unsigned char>(*c);
    return std::to_string(hash % 9999);
  }
};
inline constexpr const char* kPods = "10.244.1";
inline constexpr const char* kNodeNet = "192.0.2";
inline constexpr const char* kClusterIps = "10.96.0";
inline constexpr const char* kExternalIps = "198.51.100";
inline constexpr const char* kBalancerIps = "203.0.113";
inline constexpr const char* kClients = "100.64.0";

class RandomPlan {
 public:
  RandomPlan(std::uint64_t seed, Family family, const MasqueradePolicy& policy)
      : random_(seed), net_{family}, planner_({"self", true, {policy, policy}}) {
    model::Update update;
    for (unsigned i = 0; i < 6; ++i) {
      update.services.push_back(service(i));
      update.slices.push_back(slice(i));
    }
    model::Snapshot snapshot;
    (void)snapshot.apply(std::move(update));
    NodeFacts facts;
    facts.node_ip[static_cast<std::size_t>(family)] = net_.at(kNodeNet, 1);
    (void)planner_.replan_all(snapshot, facts);
  }

  [[nodiscard]] const Plan& plan() const { return planner_.plan(); }
  [[nodiscard]] std::vector<ServicePortPlanPtr> ports() const {
    std::vector<ServicePortPlanPtr> all;
    for (const auto& [key, service] : plan().services)
      all.insert(all.end(), service.ports.begin(), service.ports.end());
    return all;
  }
  [[nodiscard]] IpAddress node() const { return net_.at(kNodeNet, 1); }

  // From a pod, one of the real servers, the node, a client or a balancer, to a served destination or one close to it.
  Packet packet() {
    Packet packet;
    switch (below(5)) {
      case 0:
        packet.from = net_.at(kPods, 1 + below(4));
        packet.interface = "veth" + std::to_string(below(3));
        break;
      case 1:
        packet.from = node();
        packet.from_node = true;
        break;
      case 2:
        packet.from = net_.at(kBalancerIps, 1 + below(2));
        packet.interface = "eth0";
        break;
      default:
        packet.from = net_.at(kClients, 1 + below(2));
        packet.interface = "eth0";
        break;
    }
    packet.to = pick(
        {net_.at(kClusterIps, below(7)), net_.at(kExternalIps, below(3)), net_.at(kBalancerIps, below(3)), node()});
    packet.to_node_ports = packet.to == node();
    packet.port = static_cast<std::uint16_t>(packet.to_node_ports ? 30080 + below(3) : 80 + below(3));
    packet.protocol = below(4) == 0 ? Protocol::kUdp : Protocol::kTcp;
    return packet;
  }

 private:
  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }
  bool one_in(std::uint32_t number) { return below(number) == 0; }
  IpAddress pick(const std::vector<IpAddress>& from) { return from[below(static_cast<std::uint32_t>(from.size()))]; }

  model::Service service(unsigned index) {
    model::Service made;
    made.key = {"shop", "s" + std::to_string(index)};
    if (!one_in(4)) made.created = below(3);
    made.type = model::ServiceType::kLoadBalancer;
    made.cluster_ips = {net_.at(kClusterIps, 1 + below(6))};
    for (unsigned i = below(3); i > 0; --i) {
      made.external_ips.push_back(
          pick({net_.at(kExternalIps, below(3)), net_.at(kBalancerIps, below(3)), net_.at(kClusterIps, 1 + below(6))}));
    }
    made.has_external_ips = !made.external_ips.empty();
    for (unsigned i = below(3); i > 0; --i) made.ingress.push_back({net_.at(kBalancerIps, below(3))});
    if (one_in(3)) {
      for (const char* net : {kClients, kNodeNet, kPods, kExternalIps}) {
        if (one_in(3)) made.source_ranges.push_back(net_.range(net));
      }
    }
    made.external_traffic_policy = static_cast<model::TrafficPolicy>(below(2));
    made.internal_traffic_policy = static_cast<model::TrafficPolicy>(one_in(3) ? 1 : 0);
    if (one_in(3)) made.affinity_seconds = 600;
    for (unsigned i = 1 + below(2); i > 0; --i) {
      const auto node_port = static_cast<std::uint16_t>(one_in(2) ? 0 : 30080 + below(2));
      made.ports.push_back({"p" + std::to_string(i), one_in(4) ? Protocol::kUdp : Protocol::kTcp,
                            static_cast<std::uint16_t>(80 + below(2)), node_port});
    }
    return made;
  }

  model::EndpointSlice slice(unsigned index) {
    model::EndpointSlice made;
    made.key = {"shop", "s" + std::to_string(index) + "-x"};
    made.service_name = "s" + std::to_string(index);
    made.family = net_.family;
    for (const char* name : {"p1", "p2"}) {
      for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) made.ports.push_back({name, protocol, 8080});
    }
    for (unsigned host = 1; host <= 4; ++host) {
      if (one_in(3) || index == 0) continue;
      model::Endpoint endpoint;
      endpoint.address = net_.at(kPods, host);
      endpoint.node_name = host <= 1 + index % 3 ? "far" : "self";
      endpoint.ready = !one_in(3);
      endpoint.serving = endpoint.ready || one_in(2);
      endpoint.terminating = !endpoint.ready && one_in(2);
      made.endpoints.push_back(endpoint);
    }
    return made;
  }

  std::mt19937_64 random_;
  RandomNet net_;
  Planner planner_;
};

// No detector, and one of each kind, each with and without masqueradeAll.
inline std::vector<MasqueradePolicy> random_policies(Family family) {
  std::vector<MasqueradePolicy> all;
  for (const bool masquerade_all : {false, true}) {
    using Kind = LocalDetector::Kind;
    for (const Kind kind : {Kind::kNone, Kind::kCidr, Kind::kInterface, Kind::kInterfacePrefix}) {
      LocalDetector detector;
      detector.kind = kind;
      if (kind == Kind::kCidr) detector.cidr = RandomNet{family}.range(kPods);
      if (kind == Kind::kInterface) detector.interface = "veth1";
      if (kind == Kind::kInterfacePrefix) detector.interface = "veth";
      all.push_back({detector, masquerade_all});
    }
  }
  return all;
}

}  // namespace sluice::plan::test
