// SPDX-License-Identifier: Apache-2.0
// A Service object describes both families and all its ports at once, in the API's terms. kube-proxy sees it as one
// independent thing per family and port: `web` with the ports http and https on a dual-stack cluster is four Service
// ports, and each gets its own addresses, ranges and endpoints. This file makes that split. If a Service has no cluster
// IP in a family, it is not served in that family at all, even if external addresses of that family are listed.
#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include "plan/endpoints.h"
#include "plan/fitness.h"
#include "plan/frontends.h"
#include "plan/planner.h"

namespace sluice::plan {
namespace {

using Slices = std::vector<const model::EndpointSlice*>;

bool served(const model::Service& service) {
  return !service.headless && !service.other_proxy && service.type != model::ServiceType::kExternalName;
}

// externalTrafficPolicy applies only where packets can come from outside; the API server keeps it on others as a
// default.
bool external_policy_is_local(const model::Service& service) {
  if (service.external_traffic_policy != model::TrafficPolicy::kLocal) return false;
  switch (service.type) {
    case model::ServiceType::kLoadBalancer:
    case model::ServiceType::kNodePort:
      return true;
    case model::ServiceType::kClusterIp:
      return service.has_external_ips;
    case model::ServiceType::kExternalName:
      return false;
  }
  return false;
}

std::uint16_t health_check_node_port_of(const model::Service& service) {
  const bool needed = service.type == model::ServiceType::kLoadBalancer && external_policy_is_local(service);
  return needed ? service.health_check_node_port : std::uint16_t{0};
}

const IpAddress* cluster_ip_of(const model::Service& service, Family family) {
  const auto found = std::find_if(service.cluster_ips.begin(), service.cluster_ips.end(),
                                  [family](const IpAddress& address) { return address.family() == family; });
  return found == service.cluster_ips.end() ? nullptr : &*found;
}

void add_address(const IpAddress& address, Family family, std::vector<IpAddress>& addresses) {
  if (address.family() != family) return;
  // An address that is listed twice is one frontend.
  if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) addresses.push_back(address);
}

std::vector<Cidr> source_ranges_of(const model::Service& service, Family family) {
  std::vector<Cidr> ranges;
  for (const Cidr& range : service.source_ranges) {
    if (range.family() != family) continue;
    if (range.is_zero()) return {};
    if (std::find(ranges.begin(), ranges.end(), range) == ranges.end()) ranges.push_back(range);
  }
  ranges.shrink_to_fit();
  return ranges;
}

// All that the Service's ports of one family share.
PortDraft common_part(const model::Service& service, Family family, const Settings& settings, const NodeFacts& facts) {
  PortDraft common;
  common.key.service = service.key;
  common.key.family = family;
  common.cluster_ip = *cluster_ip_of(service, family);
  common.health_check_node_port = health_check_node_port_of(service);
  for (const IpAddress& address : service.external_ips) add_address(address, family, common.external_ips);
  for (const model::LoadBalancerIngress& ingress : service.ingress) {
    if (ingress.ip_mode == model::IpMode::kVip) add_address(ingress.ip, family, common.load_balancer_ips);
  }
  common.source_ranges = source_ranges_of(service, family);
  const auto& node_ip = facts.node_ip[static_cast<std::size_t>(family)];
  common.node_ip_in_source_ranges =
      node_ip && std::any_of(common.source_ranges.begin(), common.source_ranges.end(),
                             [&node_ip](const Cidr& range) { return range.contains(*node_ip); });
  common.internal_local = service.internal_traffic_policy == model::TrafficPolicy::kLocal;
  common.external_local = external_policy_is_local(service);
  // Also for external IPs that the settings do not allow: kube-proxy chooses the endpoints before it checks that
  // feature gate.
  common.externally_accessible = !common.external_ips.empty() || !common.load_balancer_ips.empty();
  if (!settings.allow_external_ips) common.external_ips.clear();
  common.external_ips.shrink_to_fit();
  common.load_balancer_ips.shrink_to_fit();
  common.affinity_seconds = service.affinity_seconds;
  common.sluice_annotations = service.sluice_annotations;
  return common;
}

// Decoding has already reported an annotation that cannot be read.
std::optional<model::Weights> weights_of(const model::Service& service) {
  const auto text = service.sluice_annotations.find(std::string(model::kWeightAnnotation));
  if (text == service.sluice_annotations.end()) return std::nullopt;
  auto weights = model::Weights::parse(text->second);
  return weights ? std::optional(*std::move(weights)) : std::nullopt;
}

std::vector<AddressPort> serving_endpoints(const std::vector<KnownEndpoint>& known) {
  std::vector<AddressPort> serving;
  serving.reserve(known.size());
  for (const KnownEndpoint& candidate : known) {
    if (candidate.endpoint->serving) serving.push_back({candidate.endpoint->address, candidate.port});
  }
  serving.shrink_to_fit();
  return serving;
}

void set_port(const model::ServicePort& port, PortDraft& draft) {
  draft.key.port_name = port.name;
  draft.key.protocol = port.protocol;
  draft.port = port.port;
  draft.node_port = port.node_port;
}

std::shared_ptr<ServicePortPlan> plan_port(const PortDraft& common, const model::ServicePort& port,
                                           const Slices& slices, const NodePlace& place, const model::Weights* weights,
                                           const MasqueradePolicy& policy) {
  PortDraft draft = common;
  set_port(port, draft);
  draft.externally_accessible = common.externally_accessible || port.node_port != 0;
  draft.uses_cluster_pool = !draft.internal_local || draft.externally_accessible;
  draft.uses_local_pool = draft.internal_local || (draft.external_local && draft.externally_accessible);
  const auto known = merge_endpoints(slices, {draft.key.family, port.name, port.protocol}, place.node_name);
  ChosenEndpoints chosen = choose_endpoints(known, {draft.uses_cluster_pool, draft.uses_local_pool}, place, weights);
  draft.has_endpoints = chosen.has_endpoints;
  draft.real_servers = std::move(chosen.real_servers);
  draft.endpoints_known = known.size();
  if (port.protocol == Protocol::kUdp) draft.serving = serving_endpoints(known);
  return std::make_shared<ServicePortPlan>(finish(std::move(draft), policy));
}

// In order of their names and protocols. The API server refuses two ports of one name and protocol; a file may have
// them, and then the last one counts.
std::vector<const model::ServicePort*> ports_of(const model::Service& service) {
  std::vector<const model::ServicePort*> ports;
  ports.reserve(service.ports.size());
  for (const model::ServicePort& port : service.ports) ports.push_back(&port);
  const auto name = [](const model::ServicePort* port) { return std::tie(port->name, port->protocol); };
  std::stable_sort(ports.begin(), ports.end(), [&](const auto* a, const auto* b) { return name(a) < name(b); });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const bool overwritten = i + 1 < ports.size() && name(ports[i]) == name(ports[i + 1]);
    if (!overwritten) ports[kept++] = ports[i];
  }
  ports.resize(kept);
  return ports;
}

// What the Service's ports of each family share; nothing for a family in which it is not served.
std::array<std::optional<PortDraft>, 2> common_parts(const model::Service& service, const Settings& settings,
                                                     const NodeFacts& facts) {
  std::array<std::optional<PortDraft>, 2> parts;
  if (!served(service)) return parts;
  for (const Family family : kFamilies) {
    if (cluster_ip_of(service, family) == nullptr) continue;
    parts[static_cast<std::size_t>(family)] = common_part(service, family, settings, facts);
  }
  return parts;
}

std::string lost_to(const Frontend& frontend, const Claims::Claimant& winner, std::int64_t created) {
  return to_string(frontend) + " is " + winner.service->to_string() + "'s, which is " +
         (winner.created < created ? "older" : "as old and comes first by name");
}

// Removes what another Service has, or an earlier port of this one: those are in order of their keys.
void settle(const std::vector<std::shared_ptr<ServicePortPlan>>& ports, std::int64_t created, const Claims* claims) {
  std::map<Claim, const ServicePortPlan*> taken;
  for (const auto& port : ports) {
    std::erase_if(port->frontends, [&](const Frontend& frontend) {
      const Claim claim = claim_on(frontend, port->key);
      std::string reason;
      if (const auto winner = claims == nullptr ? std::nullopt : claims->winner(claim);
          winner && *winner->service != port->key.service) {
        reason = lost_to(frontend, *winner, created);
      } else if (const auto [mine, first] = taken.try_emplace(claim, port.get());
                 !first && mine->second != port.get()) {
        reason = to_string(frontend) + " is " + mine->second->key.printed_name() + "'s, which comes first by name";
      }
      if (reason.empty()) return false;
      port->refused.push_back({frontend, RefusalCause::kClaimed, std::move(reason)});
      port->refused.back().frontend.filtered = false;
      return true;
    });
  }
}

// Distinct addresses, over all ports of the slices, also those that the Service does not name: kube-proxy counts them
// too.
std::size_t count_local_ready(const Slices& slices, Family family, std::string_view node_name) {
  std::set<SlicePortId> ids;
  for (const model::EndpointSlice* slice : slices) {
    for (const model::EndpointPort& port : slice->ports) ids.insert({slice->family, port.name, port.protocol});
  }
  std::set<IpAddress> addresses;
  for (const SlicePortId& id : ids) {
    if (id.family != family) continue;
    for (const KnownEndpoint& candidate : merge_endpoints(slices, id, node_name)) {
      if (candidate.on_this_node && candidate.endpoint->ready) addresses.insert(candidate.endpoint->address);
    }
  }
  return addresses.size();
}

}  // namespace

std::vector<Claim> claims_of(const model::Service& service, const Settings& settings) {
  std::vector<Claim> claims;
  std::array<std::optional<PortDraft>, 2> commons = common_parts(service, settings, {});
  for (const model::ServicePort* port : ports_of(service)) {
    for (std::optional<PortDraft>& draft : commons) {
      if (!draft) continue;
      set_port(*port, *draft);
      for (const Frontend& frontend : wanted_frontends(*draft)) {
        if (frontend.kind == FrontendKind::kNodePort || !why_unfit(frontend.address)) {
          claims.push_back(claim_on(frontend, draft->key));
        }
      }
    }
  }
  std::sort(claims.begin(), claims.end());
  claims.erase(std::unique(claims.begin(), claims.end()), claims.end());
  return claims;
}

ServicePlan plan_service(const model::Service& service, const std::vector<const model::EndpointSlice*>& slices,
                         const Settings& settings, const NodeFacts& facts, const Claims* claims) {
  ServicePlan plan;
  plan.created = service.created;
  const std::array<std::optional<PortDraft>, 2> commons = common_parts(service, settings, facts);
  if (service.ports.empty() || (!commons[0] && !commons[1])) return plan;
  // In order of their names, so that the result does not depend on the order in which they arrived.
  Slices ordered = slices;
  std::sort(ordered.begin(), ordered.end(), [](const auto* left, const auto* right) { return left->key < right->key; });
  const NodePlace place{settings.node_name, facts.zone};
  const std::optional<model::Weights> weights = weights_of(service);
  std::vector<std::shared_ptr<ServicePortPlan>> ports;
  for (const model::ServicePort* port : ports_of(service)) {
    for (const std::optional<PortDraft>& common : commons) {
      if (!common) continue;
      ports.push_back(plan_port(*common, *port, ordered, place, weights ? &*weights : nullptr,
                                settings.masquerade[static_cast<std::size_t>(common->key.family)]));
    }
  }
  settle(ports, service.created, claims);
  plan.ports.assign(ports.begin(), ports.end());
  plan.health_check_node_port = health_check_node_port_of(service);
  if (plan.health_check_node_port == 0) return plan;
  for (const Family family : kFamilies) {
    const auto index = static_cast<std::size_t>(family);
    if (commons[index]) plan.local_ready[index] = count_local_ready(ordered, family, settings.node_name);
  }
  return plan;
}

}  // namespace sluice::plan
