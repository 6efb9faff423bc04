// SPDX-License-Identifier: Apache-2.0
// The forwarding truth table. A new connection is judged by its destination (cluster IP, or one that the outside can
// reach) and by its source: a pod of this node, the node itself, or anything else. Two questions are answered: which
// real servers, and is the source address replaced. It is replaced ("masqueraded") where the answer might otherwise
// take another way back than through this node, and kept where the client's address matters: that is what
// externalTrafficPolicy Local is for.
//
// The one surprise is the short-circuit: under externalTrafficPolicy Local, clients inside the cluster use the cluster
// pool, because a balancer outside would have sent them to a node that has endpoints, and they come to this one
// directly.
#include "plan/plan.h"

#include <algorithm>

namespace sluice::plan {
namespace {

Route forward(Pool pool, bool masquerade) {
  return Route{Verdict::kForward, pool, masquerade};
}

Route refuse(Verdict verdict) {
  return Route{verdict, Pool::kCluster, false};
}

struct Routes {
  Route pod;
  Route node;
  Route outside;
};

Routes internal_routes(const ServicePortPlan& port, const MasqueradePolicy& policy) {
  if (const Verdict verdict = port.internal_verdict(); verdict != Verdict::kForward) {
    return {refuse(verdict), refuse(verdict), refuse(verdict)};
  }
  // Without a detector a source outside the cluster cannot be told from a pod, and pods are never masqueraded.
  const bool masquerade_others = policy.masquerade_all || policy.detector.implemented();
  const Pool pool = port.internal_pool();
  return {forward(pool, policy.masquerade_all), forward(pool, masquerade_others), forward(pool, masquerade_others)};
}

Routes external_routes(const ServicePortPlan& port, const MasqueradePolicy& policy) {
  if (!port.has_endpoints) {
    const Route reject = refuse(Verdict::kReject);
    return {reject, reject, reject};
  }
  const Route masqueraded = forward(Pool::kCluster, true);
  if (!port.external_local) return {masqueraded, masqueraded, masqueraded};
  const Verdict verdict = port.external_verdict();
  const Route outside = verdict == Verdict::kForward ? forward(Pool::kLocal, false) : refuse(verdict);
  const Route pod = policy.detector.implemented() ? forward(Pool::kCluster, false) : outside;
  return {pod, masqueraded, outside};
}

Frontend make_frontend(FrontendKind kind, const AddressPort& place, bool filtered, const Routes& routes) {
  return Frontend{kind, place.address, place.port, filtered, routes.pod, routes.node, routes.outside};
}

}  // namespace

std::string ServicePortKey::printed_name() const {
  return port_name.empty() ? service.to_string() : service.to_string() + ":" + port_name;
}

bool ServicePortPlan::pool_empty(Pool pool) const {
  return std::none_of(real_servers.begin(), real_servers.end(), [pool](const RealServer& server) {
    return pool == Pool::kCluster ? server.in_cluster_pool : server.in_local_pool;
  });
}

Verdict ServicePortPlan::internal_verdict() const {
  if (!has_endpoints) return Verdict::kReject;
  return internal_local && pool_empty(Pool::kLocal) ? Verdict::kDrop : Verdict::kForward;
}

Verdict ServicePortPlan::external_verdict() const {
  if (!has_endpoints) return Verdict::kReject;
  return external_local && pool_empty(Pool::kLocal) ? Verdict::kDrop : Verdict::kForward;
}

std::vector<Frontend> frontends(const ServicePortPlan& port, const MasqueradePolicy& policy) {
  const Routes internal = internal_routes(port, policy);
  const Routes external = external_routes(port, policy);
  // With no endpoints everybody is rejected, in or out of the ranges, as kube-proxy's iptables mode does.
  const bool filtered = !port.source_ranges.empty() && port.has_endpoints;
  std::vector<Frontend> result;
  result.reserve(2 + port.external_ips.size() + port.load_balancer_ips.size());
  result.push_back(make_frontend(FrontendKind::kClusterIp, {port.cluster_ip, port.port}, false, internal));
  for (const IpAddress& address : port.external_ips) {
    result.push_back(make_frontend(FrontendKind::kExternalIp, {address, port.port}, false, external));
  }
  for (const IpAddress& address : port.load_balancer_ips) {
    result.push_back(make_frontend(FrontendKind::kLoadBalancerIp, {address, port.port}, filtered, external));
  }
  if (port.node_port != 0)
    result.push_back(make_frontend(FrontendKind::kNodePort, {{}, port.node_port}, false, external));
  return result;
}

}  // namespace sluice::plan
