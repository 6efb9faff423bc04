// SPDX-License-Identifier: Apache-2.0
// Which pods does a packet for a Service go to? Not simply "the ready ones":
// - While a Deployment rolls over on a node, for a moment all its pods there may be terminating. Those that still serve
//   keep getting traffic as long as no ready one is left in the same scope (KEP-1669, ProxyTerminatingEndpoints).
// - The EndpointSlice controller hints which zones or nodes should use an endpoint, so that traffic stays near. The
//   hints count only if every ready endpoint has one and some are for this node: half a set of hints would overload the
//   few that have them (KEP-2433, KEP-3015).
// - Policy Local uses only the endpoints of this node, without hints.
// The same endpoint may be in two slices while the controller moves it from one to the other, with different
// conditions. All this follows kube-proxy's CategorizeEndpoints (pkg/proxy/topology.go) and its slice cache
// (pkg/proxy/endpointslicecache.go).
#include "plan/endpoints.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

namespace sluice::plan {
namespace {

struct Candidate {
  std::string printed;  // "ip:port", written once
  KnownEndpoint known;
};

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void add_candidates(const model::EndpointSlice& slice, std::uint16_t port, std::string_view node_name,
                    std::vector<Candidate>& candidates) {
  for (const model::Endpoint& endpoint : slice.endpoints) {
    // The API server refuses such a slice; a file may have it, and its rule would make the kernel refuse all others
    // with it.
    if (endpoint.address.family() != slice.family) continue;
    const bool on_this_node = !node_name.empty() && endpoint.node_name == node_name;
    candidates.push_back({join_host_port(endpoint.address, port), {&endpoint, port, on_this_node}});
  }
}

bool serves_while_terminating(const model::Endpoint& endpoint) {
  return endpoint.serving && endpoint.terminating;
}

enum class Hints : std::uint8_t { kIgnored, kNode, kZone };

Hints hints_in_force(const std::vector<KnownEndpoint>& known, const NodePlace& place) {
  bool all_have_node_hints = true;
  bool all_have_zone_hints = true;
  bool node_is_hinted = false;
  bool zone_is_hinted = false;
  for (const KnownEndpoint& candidate : known) {
    const model::Endpoint& endpoint = *candidate.endpoint;
    if (!endpoint.ready) continue;
    all_have_node_hints = all_have_node_hints && !endpoint.node_hints.empty();
    all_have_zone_hints = all_have_zone_hints && !endpoint.zone_hints.empty();
    node_is_hinted = node_is_hinted || contains(endpoint.node_hints, place.node_name);
    zone_is_hinted = zone_is_hinted || contains(endpoint.zone_hints, place.zone);
  }
  if (all_have_node_hints && node_is_hinted && !place.node_name.empty()) return Hints::kNode;
  if (all_have_zone_hints && zone_is_hinted && !place.zone.empty()) return Hints::kZone;
  return Hints::kIgnored;
}

bool hinted_for_us(const model::Endpoint& endpoint, Hints hints, const NodePlace& place) {
  switch (hints) {
    case Hints::kIgnored:
      return true;
    case Hints::kNode:
      return contains(endpoint.node_hints, place.node_name);
    case Hints::kZone:
      return contains(endpoint.zone_hints, place.zone);
  }
  return true;
}

std::uint16_t weight_of(const model::Endpoint& endpoint, const model::Weights* weights) {
  if (endpoint.weight) return *endpoint.weight;
  if (weights == nullptr) return 1;
  return weights->of(endpoint.address, endpoint.node_name, endpoint.zone).value_or(1);
}

// Which kinds exist at all; decides between ready endpoints and the fallback to terminating ones, for each pool alone.
struct Census {
  bool ready = false;
  bool fallback = false;
  bool ready_here = false;
};

Census take_census(const std::vector<KnownEndpoint>& known) {
  Census census;
  for (const KnownEndpoint& candidate : known) {
    census.ready = census.ready || candidate.endpoint->ready;
    census.fallback = census.fallback || serves_while_terminating(*candidate.endpoint);
    census.ready_here = census.ready_here || (candidate.endpoint->ready && candidate.on_this_node);
  }
  return census;
}

}  // namespace

std::vector<KnownEndpoint> merge_endpoints(const std::vector<const model::EndpointSlice*>& slices,
                                           const SlicePortId& port, std::string_view node_name) {
  std::vector<Candidate> candidates;
  for (const model::EndpointSlice* slice : slices) {
    if (slice->family != port.family) continue;
    for (const model::EndpointPort& slice_port : slice->ports) {
      if (slice_port.name != port.name || slice_port.protocol != port.protocol || slice_port.port == 0) continue;
      add_candidates(*slice, slice_port.port, node_name, candidates);
    }
  }
  // Stable, so that entries of the same ip:port stay in the order of the slices.
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& left, const Candidate& right) { return left.printed < right.printed; });
  std::vector<KnownEndpoint> merged;
  merged.reserve(candidates.size());
  const std::string* previous = nullptr;
  for (const Candidate& candidate : candidates) {
    if (previous == nullptr || *previous != candidate.printed) {
      merged.push_back(candidate.known);
    } else if (!candidate.known.endpoint->terminating) {
      merged.back() = candidate.known;
    }
    previous = &candidate.printed;
  }
  return merged;
}

ChosenEndpoints choose_endpoints(const std::vector<KnownEndpoint>& known, PoolUse use, const NodePlace& place,
                                 const model::Weights* weights) {
  const Census census = take_census(known);
  ChosenEndpoints chosen;
  chosen.has_endpoints = census.ready || census.fallback;
  chosen.real_servers.reserve(known.size());
  const Hints hints = use.cluster ? hints_in_force(known, place) : Hints::kIgnored;
  for (const KnownEndpoint& candidate : known) {
    const model::Endpoint& endpoint = *candidate.endpoint;
    RealServer server{endpoint.address, candidate.port, candidate.on_this_node};
    if (use.cluster) {
      server.in_cluster_pool =
          census.ready ? endpoint.ready && hinted_for_us(endpoint, hints, place) : serves_while_terminating(endpoint);
    }
    if (use.local && candidate.on_this_node) {
      server.in_local_pool = census.ready_here ? endpoint.ready : serves_while_terminating(endpoint);
    }
    if (!server.in_cluster_pool && !server.in_local_pool) continue;
    server.weight = weight_of(endpoint, weights);
    chosen.real_servers.push_back(server);
  }
  chosen.real_servers.shrink_to_fit();
  return chosen;
}

}  // namespace sluice::plan
