// SPDX-License-Identifier: Apache-2.0
// Short ways to write API objects, for this room's tests.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ip_literals.h"
#include "model/object.h"
#include "plan/planner.h"

namespace sluice::plan::test {

inline std::vector<IpAddress> ips(const std::vector<std::string>& texts) {
  std::vector<IpAddress> result;
  for (const std::string& text : texts) result.push_back(ip(text));
  return result;
}

inline const Settings kSettings{"self", true};

inline model::ServicePort service_port(std::string name, std::uint16_t number, Protocol protocol = Protocol::kTcp,
                                       std::uint16_t node_port = 0) {
  return {std::move(name), protocol, number, node_port};
}

// Each name has its own address, since no two Services share one; that of "web" is 10.96.0.1.
inline std::string cluster_ip_of(const std::string& name) {
  if (name == "web") return "10.96.0.1";
  unsigned hash = 0;
  for (const char c : name) hash = hash * 31 + static_cast<unsigned char>(c);
  return "10.97." + std::to_string(hash / 256 % 256) + "." + std::to_string(hash % 256);
}

inline model::Service make_service(std::string name, std::vector<model::ServicePort> ports,
                                   const std::vector<std::string>& cluster_ips) {
  model::Service service;
  service.key = {"shop", std::move(name)};
  service.ports = std::move(ports);
  service.cluster_ips = ips(cluster_ips);
  return service;
}
inline model::Service make_service(const std::string& name, std::vector<model::ServicePort> ports) {
  return make_service(name, std::move(ports), {cluster_ip_of(name)});
}

// An endpoint from words: an address, then any of @node-name, zone=a, node=b (hints), unready (also: not serving),
// serving, terminating. "10.1.0.1 @self zone=a" is ready, on this node and hinted for zone a.
inline model::Endpoint make_endpoint(const std::string& words) {
  std::istringstream in(words);
  std::string word;
  in >> word;
  model::Endpoint endpoint;
  endpoint.address = ip(word);
  while (in >> word) {
    if (word.starts_with("@")) {
      endpoint.node_name = word.substr(1);
    } else if (word.starts_with("zone=")) {
      endpoint.zone_hints.push_back(word.substr(5));
    } else if (word.starts_with("node=")) {
      endpoint.node_hints.push_back(word.substr(5));
    } else if (word == "unready") {
      endpoint.ready = false;
      endpoint.serving = false;
    } else if (word == "serving") {
      endpoint.serving = true;
    } else if (word == "terminating") {
      endpoint.terminating = true;
    } else {
      std::abort();  // a typing error in a test
    }
  }
  return endpoint;
}

inline model::EndpointPort slice_port(std::string name, std::uint16_t number, Protocol protocol = Protocol::kTcp) {
  return {std::move(name), protocol, number};
}

// A slice of Service shop/`service`.
inline model::EndpointSlice make_slice(std::string name, std::string service, std::vector<model::EndpointPort> ports,
                                       const std::vector<std::string>& endpoints, Family family = Family::kIPv4) {
  model::EndpointSlice slice;
  slice.key = {"shop", std::move(name)};
  slice.service_name = std::move(service);
  slice.family = family;
  slice.ports = std::move(ports);
  for (const std::string& words : endpoints) slice.endpoints.push_back(make_endpoint(words));
  return slice;
}

inline std::vector<const model::EndpointSlice*> pointers(const std::vector<model::EndpointSlice>& slices) {
  std::vector<const model::EndpointSlice*> result;
  for (const model::EndpointSlice& slice : slices) result.push_back(&slice);
  return result;
}

inline ServicePlan plan_of(const model::Service& service, const std::vector<model::EndpointSlice>& slices,
                           const NodeFacts& facts = {}, const Settings& settings = kSettings) {
  return plan_service(service, pointers(slices), settings, facts);
}

// "10.1.0.1:80 10.1.0.2:80": the real servers of one pool, in order.
inline std::string pool_text(const ServicePortPlan& port, Pool pool) {
  std::string text;
  for (const RealServer& server : port.real_servers) {
    if (!server.in(pool)) continue;
    text += (text.empty() ? "" : " ") + server.to_string();
  }
  return text;
}

// The addresses of one kind of frontend, in order.
inline std::vector<IpAddress> addresses_of(const ServicePortPlan& port, FrontendKind kind) {
  std::vector<IpAddress> addresses;
  for (const Frontend& frontend : port.frontends) {
    if (frontend.kind == kind) addresses.push_back(frontend.address);
  }
  return addresses;
}

inline std::string reachable_text(const ServicePortPlan& port) {
  std::string text;
  for (const RealServer& server : port.real_servers) text += (text.empty() ? "" : " ") + server.to_string();
  return text;
}

}  // namespace sluice::plan::test
