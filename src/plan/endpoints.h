// SPDX-License-Identifier: Apache-2.0
// The endpoints behind one Service port: first all known ones, merged from the slices; then those that traffic may
// go to.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/object.h"
#include "model/weights.h"
#include "plan/plan.h"

namespace sluice::plan {

// Matches a Service's port with its slices' ports: targetPort is not used, the slice has the resolved number.
struct SlicePortId {
  Family family = Family::kIPv4;
  std::string_view name;
  Protocol protocol = Protocol::kTcp;
  friend auto operator<=>(const SlicePortId&, const SlicePortId&) = default;
};

// An endpoint under one port number. It points into its slice: a value for the time of planning only.
struct KnownEndpoint {
  const model::Endpoint* endpoint = nullptr;
  std::uint16_t port = 0;
  bool on_this_node = false;
};

// All endpoints of the port, also those not ready, sorted by their printed "ip:port". `slices` are one Service's, in
// order of their names. If several slices have the same ip:port, one entry stays: the last that is not terminating,
// or else the first.
std::vector<KnownEndpoint> merge_endpoints(const std::vector<const model::EndpointSlice*>& slices,
                                           const SlicePortId& port, std::string_view node_name);

// Which pools a Service port's policies draw from.
struct PoolUse {
  bool cluster = true;
  bool local = false;
};

// Where this node is, to compare with the endpoints' hints; empty = unknown.
struct NodePlace {
  std::string_view node_name;
  std::string_view zone;
};

struct ChosenEndpoints {
  std::vector<RealServer> real_servers;  // of both pools, in the order of `known`
  bool has_endpoints = false;            // usable endpoints exist somewhere, also outside the pools
};

// `weights` are the Service's own, for endpoints whose slice has none; may be null.
ChosenEndpoints choose_endpoints(const std::vector<KnownEndpoint>& known, PoolUse use, const NodePlace& place,
                                 const model::Weights* weights = nullptr);

}  // namespace sluice::plan
