// SPDX-License-Identifier: Apache-2.0
// What a Service proxy reads from Kubernetes, as plain values with Kubernetes' names: Service (core/v1), EndpointSlice
// (discovery.k8s.io/v1 and v1beta1), Node (core/v1). Only the fields that decide forwarding are kept. Decoding and
// defaulting is done by `kube`; nothing here can fail.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"

namespace sluice::model {

// namespace/name of an object; for a Node the namespace is empty.
struct ObjectKey {
  std::string namespace_name;
  std::string name;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
  [[nodiscard]] std::string to_string() const { return namespace_name + "/" + name; }
};

enum class ServiceType : std::uint8_t { kClusterIp, kNodePort, kLoadBalancer, kExternalName };
enum class TrafficPolicy : std::uint8_t { kCluster, kLocal };
enum class IpMode : std::uint8_t { kVip, kProxy };

// spec.ports[] of a Service. targetPort is omitted on purpose: slices carry the resolved port.
struct ServicePort {
  std::string name;
  Protocol protocol = Protocol::kTcp;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;  // 0 = none
  friend bool operator==(const ServicePort&, const ServicePort&) = default;
};

struct LoadBalancerIngress {
  IpAddress ip;
  IpMode ip_mode = IpMode::kVip;
  friend bool operator==(const LoadBalancerIngress&, const LoadBalancerIngress&) = default;
};

// For an object without creation time (a file): younger than all that have one, as old as all that do not.
inline constexpr std::int64_t kCreatedUnknown = std::numeric_limits<std::int64_t>::max();

struct Service {
  ObjectKey key;
  std::int64_t created = kCreatedUnknown;  // metadata.creationTimestamp, as nanoseconds since 1970
  ServiceType type = ServiceType::kClusterIp;
  bool headless = false;     // spec.clusterIP is "None"
  bool other_proxy = false;  // label service.kubernetes.io/service-proxy-name is present, whatever its value
  // clusterIPs, or only clusterIP where the server knows no clusterIPs; at most one per family.
  std::vector<IpAddress> cluster_ips;
  std::vector<IpAddress> external_ips;       // those that parse
  bool has_external_ips = false;             // spec.externalIPs is not empty as written (raw list)
  std::vector<LoadBalancerIngress> ingress;  // status.loadBalancer.ingress[] that have an ip
  std::vector<Cidr> source_ranges;           // spec.loadBalancerSourceRanges that parse
  std::vector<ServicePort> ports;
  TrafficPolicy external_traffic_policy = TrafficPolicy::kCluster;
  TrafficPolicy internal_traffic_policy = TrafficPolicy::kCluster;
  std::uint16_t health_check_node_port = 0;               // 0 = none
  std::optional<std::uint32_t> affinity_seconds;          // set iff sessionAffinity is ClientIP
  std::map<std::string, std::string> sluice_annotations;  // annotations whose key starts with "sluice.dev/"
  friend bool operator==(const Service&, const Service&) = default;
};

// endpoints[] of a slice that have an address; conditions that are absent in the object are true, true, false.
struct Endpoint {
  IpAddress address;  // addresses[0]
  bool ready = true;
  bool serving = true;
  bool terminating = false;
  std::string node_name;                // nodeName, or v1beta1's topology["kubernetes.io/hostname"]
  std::vector<std::string> zone_hints;  // hints.forZones[].name
  std::vector<std::string> node_hints;  // hints.forNodes[].name
  std::string zone;                     // zone, or v1beta1's topology["topology.kubernetes.io/zone"]
  std::optional<std::uint16_t> weight;  // from the slice's annotation sluice.dev/weight (model/weights.h)
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

struct EndpointPort {
  std::string name;
  Protocol protocol = Protocol::kTcp;
  std::uint16_t port = 0;
  friend bool operator==(const EndpointPort&, const EndpointPort&) = default;
};

struct EndpointSlice {
  ObjectKey key;
  std::string service_name;  // label kubernetes.io/service-name; empty = belongs to none
  Family family = Family::kIPv4;
  std::vector<EndpointPort> ports;
  std::vector<Endpoint> endpoints;
  // Annotation endpoints.kubernetes.io/last-change-trigger-time as nanoseconds since 1970; 0 = absent.
  std::int64_t last_change_trigger_ns = 0;
  friend bool operator==(const EndpointSlice&, const EndpointSlice&) = default;
};

struct Node {
  std::string name;
  std::map<std::string, std::string> labels;
  std::vector<IpAddress> internal_ips;  // status.addresses[] of type InternalIP
  std::vector<IpAddress> external_ips;  // status.addresses[] of type ExternalIP
  std::vector<Cidr> pod_cidrs;          // spec.podCIDRs, or spec.podCIDR where the server knows no podCIDRs
  std::vector<std::string> taint_keys;
  bool deleting = false;  // metadata.deletionTimestamp is set
  std::string uid;
  friend bool operator==(const Node&, const Node&) = default;
};

inline constexpr std::string_view kZoneLabel = "topology.kubernetes.io/zone";

}  // namespace sluice::model

template <>
struct std::hash<sluice::model::ObjectKey> {
  std::size_t operator()(const sluice::model::ObjectKey& key) const noexcept {
    const std::size_t first = std::hash<std::string>()(key.namespace_name);
    return std::hash<std::string>()(key.name) ^ (first + 0x9e3779b97f4a7c15ULL + (first << 6) + (first >> 2));
  }
};
