// SPDX-License-Identifier: Apache-2.0
// The plan: what this node must serve, worked out from the Snapshot by Kubernetes' rules, so that no data plane has to
// know them. Its unit is one port of one Service in one family. A data plane sees frontends (where packets come in, and
// what happens to them by where they come from) and the real servers behind them.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/object.h"

namespace sluice::plan {

using model::ObjectKey;

struct ServicePortKey {
  ObjectKey service;
  std::string port_name;  // may be empty
  Protocol protocol = Protocol::kTcp;
  Family family = Family::kIPv4;
  friend auto operator<=>(const ServicePortKey&, const ServicePortKey&) = default;
  // "namespace/name:port", or "namespace/name" for an empty port name: kube-proxy's service port name in comments and
  // logs.
  [[nodiscard]] std::string printed_name() const;
};

// A real server that this node may send to. Ordered by its printed "ip:port", byte for byte, as kube-proxy orders them.
struct RealServer {
  IpAddress address;
  std::uint16_t port = 0;
  bool on_this_node = false;
  bool in_cluster_pool = false;  // chosen where the policy is Cluster (and for short-circuits)
  bool in_local_pool = false;    // chosen where the policy is Local
  // Its share of new connections in mode ipvs, 0 to 65535 (annotation sluice.dev/weight); other modes share evenly.
  std::uint16_t weight = 1;
  [[nodiscard]] std::string to_string() const { return join_host_port(address, port); }
  friend bool operator==(const RealServer&, const RealServer&) = default;
};

struct AddressPort {
  IpAddress address;
  std::uint16_t port = 0;
  friend auto operator<=>(const AddressPort&, const AddressPort&) = default;
};

enum class Pool : std::uint8_t { kCluster, kLocal };
enum class Verdict : std::uint8_t {
  kForward,
  kReject,  // no endpoints anywhere: ICMP port unreachable, the client fails at once
  kDrop,    // policy Local, endpoints elsewhere, none here: silence
};

// What happens to a new connection from one kind of source. `pool` and `masquerade` have a meaning with kForward only.
struct Route {
  Verdict verdict = Verdict::kForward;
  Pool pool = Pool::kCluster;
  bool masquerade = false;
  friend bool operator==(const Route&, const Route&) = default;
};

enum class FrontendKind : std::uint8_t { kClusterIp, kExternalIp, kLoadBalancerIp, kNodePort };

// One place where packets come in. `address` is meaningless for kNodePort: the node's addresses are the NodeFacts'
// business.
struct Frontend {
  FrontendKind kind = FrontendKind::kClusterIp;
  IpAddress address;
  std::uint16_t port = 0;
  bool filtered = false;  // loadBalancerSourceRanges are in force here
  // By source (reference: the forwarding truth table in docs/packet.md). Where pods cannot be told from other sources
  // (no local detector for the family) `pod` equals `outside`.
  Route pod;
  Route node;
  Route outside;
  friend bool operator==(const Frontend&, const Frontend&) = default;
};

// Everything a data plane needs for one Service port. A value; shared by pointer, never changed once made.
struct ServicePortPlan {
  ServicePortKey key;
  IpAddress cluster_ip;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;               // 0 = none
  std::uint16_t health_check_node_port = 0;  // 0 = none
  std::vector<IpAddress> external_ips;       // of this family, as the settings allow them
  std::vector<IpAddress> load_balancer_ips;  // of this family, ipMode VIP
  std::vector<Cidr> source_ranges;           // of this family; empty = everybody
  bool node_ip_in_source_ranges = false;
  bool internal_local = false;         // internalTrafficPolicy Local
  bool external_local = false;         // externalTrafficPolicy Local, on a Service where it has a meaning
  bool externally_accessible = false;  // a node port, an external IP or a load-balancer IP of this family
  bool uses_cluster_pool = false;
  bool uses_local_pool = false;
  bool has_endpoints = false;  // usable endpoints exist somewhere
  std::optional<std::uint32_t> affinity_seconds;
  std::vector<RealServer> real_servers;  // union of both pools, sorted by "ip:port"
  std::size_t endpoints_known = 0;       // also those not ready: decides kube-proxy's large cluster mode
  // UDP only: every serving endpoint, whether chosen or not. A conntrack entry to one of these is not stale.
  std::vector<AddressPort> serving;
  std::map<std::string, std::string> sluice_annotations;

  [[nodiscard]] bool pool_empty(Pool pool) const;
  [[nodiscard]] Pool internal_pool() const { return internal_local ? Pool::kLocal : Pool::kCluster; }
  [[nodiscard]] Pool external_pool() const { return external_local ? Pool::kLocal : Pool::kCluster; }
  [[nodiscard]] Verdict internal_verdict() const;  // to the cluster IP
  [[nodiscard]] Verdict external_verdict() const;  // to the others, from outside the cluster
  friend bool operator==(const ServicePortPlan&, const ServicePortPlan&) = default;
};
using ServicePortPlanPtr = std::shared_ptr<const ServicePortPlan>;

// How a packet's source is recognised as a pod of this node (detectLocalMode), for one family.
struct LocalDetector {
  enum class Kind : std::uint8_t { kNone, kCidr, kInterface, kInterfacePrefix };
  Kind kind = Kind::kNone;
  Cidr cidr;              // kCidr
  std::string interface;  // kInterface: its name; kInterfacePrefix: what its name starts with
  [[nodiscard]] bool implemented() const { return kind != Kind::kNone; }
  friend bool operator==(const LocalDetector&, const LocalDetector&) = default;
};

// From the configuration; fixed for the life of the process.
struct Settings {
  std::string node_name;           // lower case, trimmed
  bool allow_external_ips = true;  // feature gate AllowServiceExternalIPs
};

// How a data plane treats sources; needed to spell out a frontend's routes.
struct MasqueradePolicy {
  LocalDetector detector;
  bool masquerade_all = false;
};

// Everything that this port answers on, in the order cluster IP, external IPs, load-balancer IPs, node port.
std::vector<Frontend> frontends(const ServicePortPlan& port, const MasqueradePolicy& policy);

// One Service's ports of both families, sorted by key, and what its health-check node port answers.
struct ServicePlan {
  std::vector<ServicePortPlanPtr> ports;
  std::uint16_t health_check_node_port = 0;  // 0 = none; needs type LoadBalancer and externalTrafficPolicy Local
  // Distinct addresses of ready endpoints on this node, over all ports, by family. Counted only with a health-check
  // node port.
  std::array<std::size_t, 2> local_ready{};
};

struct Plan {
  std::map<ObjectKey, ServicePlan> services;  // only those that are served
};

// A Service port that appeared (before is null), went (after is null) or changed (both).
struct Change {
  ServicePortPlanPtr before;
  ServicePortPlanPtr after;
  [[nodiscard]] const ServicePortKey& key() const { return after ? after->key : before->key; }
};

}  // namespace sluice::plan
