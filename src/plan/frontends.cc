// SPDX-License-Identifier: Apache-2.0
// The forwarding truth table. A new connection is judged by its destination (cluster IP, or one that the outside can
// reach) and by its source: a pod of this node, the node itself, or anything else. Two things are decided: which
// real servers, and whether the source address is replaced. It is replaced ("masqueraded") where the reply might
// otherwise not return through this node, and kept where the client's address matters: that is what
// externalTrafficPolicy Local is for.
//
// The one unexpected case is the short-circuit: under externalTrafficPolicy Local, clients inside the cluster use the
// cluster pool, because a balancer outside would have sent them to a node that has endpoints, and they come to this one
// directly.
#include "plan/frontends.h"

#include <algorithm>
#include <utility>

#include "plan/fitness.h"

namespace sluice::plan {
namespace {

// An empty pool forwards nothing: rejected without endpoints, dropped if policy Local finds none here.
Verdict verdict_of(const PortDraft& draft, bool local) {
  if (!draft.has_endpoints) return Verdict::kReject;
  return local && draft.pool_empty(Pool::kLocal) ? Verdict::kDrop : Verdict::kForward;
}

Routes internal_routes(const PortDraft& draft, const MasqueradePolicy& policy) {
  const Verdict verdict = verdict_of(draft, draft.internal_local);
  const Pool pool = draft.internal_local ? Pool::kLocal : Pool::kCluster;
  // Without a detector a source outside the cluster cannot be distinguished from a pod, and pods are never masqueraded.
  const Route others{verdict, pool, policy.masquerade_all || policy.detector.implemented()};
  return {{verdict, pool, policy.masquerade_all}, others, others};
}

Routes external_routes(const PortDraft& draft, const MasqueradePolicy& policy) {
  const Verdict anywhere = verdict_of(draft, false);
  const Route masqueraded{anywhere, Pool::kCluster, true};
  if (!draft.external_local) return {masqueraded, masqueraded, masqueraded};
  const Route outside{verdict_of(draft, true), Pool::kLocal, false};
  const Route pod = policy.detector.implemented() ? Route{anywhere, Pool::kCluster, false} : outside;
  return {pod, masqueraded, outside};
}

}  // namespace

std::vector<Frontend> wanted_frontends(const PortDraft& draft) {
  std::vector<Frontend> frontends;
  frontends.reserve(1 + draft.external_ips.size() + draft.load_balancer_ips.size() + (draft.node_port != 0 ? 1 : 0));
  frontends.push_back({FrontendKind::kClusterIp, false, draft.port, draft.cluster_ip});
  // An external IP that is the cluster IP is served as that.
  for (const IpAddress& address : draft.external_ips) {
    if (address == draft.cluster_ip) continue;
    frontends.push_back({FrontendKind::kExternalIp, false, draft.port, address});
  }
  for (const IpAddress& address : draft.load_balancer_ips) {
    if (address == draft.cluster_ip) continue;
    frontends.push_back({FrontendKind::kLoadBalancerIp, false, draft.port, address});
  }
  if (draft.node_port != 0) frontends.push_back({FrontendKind::kNodePort, false, draft.node_port, {}});
  return frontends;
}

ServicePortPlan finish(PortDraft draft, const MasqueradePolicy& policy) {
  draft.internal = internal_routes(draft, policy);
  draft.external = external_routes(draft, policy);
  draft.frontends = wanted_frontends(draft);
  std::erase_if(draft.frontends, [&draft](const Frontend& frontend) {
    if (frontend.kind == FrontendKind::kNodePort) return false;
    auto reason = why_unfit(frontend.address);
    if (reason) draft.refused.push_back({frontend, RefusalCause::kUnfit, *std::move(reason)});
    return reason.has_value();
  });
  // Also without endpoints: whom the ranges do not admit learns nothing, as in kube-proxy's mode nftables.
  if (!draft.source_ranges.empty()) {
    const auto& balanced = draft.load_balancer_ips;
    for (Frontend& frontend : draft.frontends) {
      // Also if the same address is an external IP: otherwise writing externalIPs would open it to all clients.
      frontend.filtered =
          (frontend.kind == FrontendKind::kLoadBalancerIp || frontend.kind == FrontendKind::kExternalIp) &&
          std::find(balanced.begin(), balanced.end(), frontend.address) != balanced.end();
    }
  }
  return std::move(static_cast<ServicePortPlan&>(draft));
}

}  // namespace sluice::plan
