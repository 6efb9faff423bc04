// SPDX-License-Identifier: Apache-2.0
// A packet meets the plan in this order: which Service has the destination (its own address before a node port of
// that number, as in the dispatch rules of every plane), what the source is, whether the source ranges accept it,
// and what the truth table (frontends.cc) says. The index of claims makes the first step one look-up.
#include "plan/route.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace sluice::plan {
namespace {

struct Found {
  ServicePortPlanPtr port;
  Frontend frontend;
};

std::optional<Found> find(const Plan& plan, const Claim& claim) {
  const auto winner = plan.claims.winner(claim);
  if (!winner) return std::nullopt;
  const auto service = plan.services.find(*winner->service);
  if (service == plan.services.end()) return std::nullopt;
  for (const ServicePortPlanPtr& port : service->second.ports) {
    for (const Frontend& frontend : port->frontends) {
      if (claim_on(frontend, port->key) == claim) return Found{port, frontend};
    }
  }
  return std::nullopt;
}

bool let_in(const ServicePortPlan& port, const IpAddress& source) {
  if (std::any_of(port.source_ranges.begin(), port.source_ranges.end(),
                  [&](const Cidr& range) { return range.contains(source); })) {
    return true;
  }
  return port.node_ip_in_source_ranges &&
         std::any_of(port.frontends.begin(), port.frontends.end(), [&](const Frontend& frontend) {
           return frontend.kind == FrontendKind::kLoadBalancerIp && frontend.address == source;
         });
}

Fate fate_of(Verdict verdict) {
  switch (verdict) {
    case Verdict::kForward:
      return Fate::kForward;
    case Verdict::kReject:
      return Fate::kReject;
    case Verdict::kDrop:
      return Fate::kDrop;
  }
  return Fate::kDrop;
}

std::string_view words(Source source) {
  switch (source) {
    case Source::kPod:
      return "from a pod of this node";
    case Source::kNode:
      return "from this node";
    case Source::kOutside:
      return "from outside";
  }
  return "";
}

}  // namespace

Source source_of(const Packet& packet, const LocalDetector& detector) {
  bool pod = false;
  switch (detector.kind) {
    case LocalDetector::Kind::kNone:
      break;
    case LocalDetector::Kind::kCidr:
      pod = detector.cidr.contains(packet.from);
      break;
    case LocalDetector::Kind::kInterface:
      pod = packet.interface == detector.interface;
      break;
    case LocalDetector::Kind::kInterfacePrefix:
      pod = !packet.interface.empty() && packet.interface.starts_with(detector.interface);
      break;
  }
  if (pod) return Source::kPod;
  return packet.from_node ? Source::kNode : Source::kOutside;
}

Routing route(const Packet& packet, const Plan& plan, const LocalDetector& detector) {
  Routing routing;
  routing.source = source_of(packet, detector);
  auto found = find(plan, {packet.to, packet.port, packet.protocol});
  if (!found && packet.to_node_ports) {
    found = find(plan, claim_on_node_port(packet.to.family(), packet.port, packet.protocol));
  }
  if (!found) return routing;
  routing.service_port = std::move(found->port);
  routing.frontend = found->frontend;
  const ServicePortPlan& port = *routing.service_port;
  const Routes& routes = port.routes(routing.frontend);
  routing.route = routing.source == Source::kPod    ? routes.pod
                  : routing.source == Source::kNode ? routes.node
                                                    : routes.outside;
  routing.fate = fate_of(routing.route.verdict);
  if (routing.frontend.filtered && !let_in(port, packet.from)) routing.fate = Fate::kFiltered;
  if (routing.fate != Fate::kForward) return routing;
  for (const RealServer& server : port.real_servers) {
    if (!server.in(routing.route.pool)) continue;
    routing.candidates.push_back({server, routing.route.masquerade || server.address == packet.from});
  }
  return routing;
}

std::string Routing::to_string() const {
  if (fate == Fate::kNotOurs) return "no Service is served there";
  const std::string at =
      fmt::format("{} at {}, {}: ", service_port->key.printed_name(), plan::to_string(frontend), words(source));
  switch (fate) {
    case Fate::kForward:
      return at + fmt::format("one of {} of the {} pool, source {}", candidates.size(),
                              route.pool == Pool::kCluster ? "cluster" : "local",
                              route.masquerade ? "masqueraded" : "kept");
    case Fate::kReject:
      return at + "rejected, there are no endpoints";
    case Fate::kDrop:
      return at + "dropped, the policy is Local and no endpoint is on this node";
    case Fate::kFiltered:
      return at + "dropped, the source ranges do not hold the source";
    case Fate::kNotOurs:
      break;
  }
  return at;
}

}  // namespace sluice::plan
