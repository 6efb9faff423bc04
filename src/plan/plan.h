// SPDX-License-Identifier: Apache-2.0
// The plan: what this node must serve, derived from the Snapshot by Kubernetes' rules, so that no data plane has to
// know them. Its unit is one port of one Service in one family. A data plane sees frontends (where packets come in, and
// what happens to them by source) and the real servers behind them.
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
#include "plan/claims.h"

namespace sluice::plan {

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

enum class Pool : std::uint8_t { kCluster, kLocal };

// A real server that this node may send to. Ordered by its printed "ip:port", byte for byte, as kube-proxy orders them.
struct RealServer {
  IpAddress address;
  std::uint16_t port = 0;
  bool on_this_node = false;
  bool in_cluster_pool = false;  // chosen where the policy is Cluster (and for short-circuits)
  bool in_local_pool = false;    // chosen where the policy is Local
  // Its share of new connections where the mode has weights (ipvs, nftables), 0 to 65535: annotation sluice.dev/weight.
  std::uint16_t weight = 1;
  [[nodiscard]] bool in(Pool pool) const { return pool == Pool::kCluster ? in_cluster_pool : in_local_pool; }
  [[nodiscard]] std::string to_string() const { return join_host_port(address, port); }
  friend bool operator==(const RealServer&, const RealServer&) = default;
};

struct AddressPort {
  IpAddress address;
  std::uint16_t port = 0;
  friend auto operator<=>(const AddressPort&, const AddressPort&) = default;
};

enum class Verdict : std::uint8_t {
  kForward,
  kReject,  // no endpoints anywhere: ICMP port unreachable, the client fails at once
  kDrop,    // policy Local, endpoints elsewhere, none here: silence
};

// What happens to a new connection from one kind of source. `pool` and `masquerade` are the policy's, also if the
// verdict is not kForward because there is no endpoint.
struct Route {
  Verdict verdict = Verdict::kForward;
  Pool pool = Pool::kCluster;
  bool masquerade = false;
  friend bool operator==(const Route&, const Route&) = default;
};

// By source (the forwarding truth table in docs/packet.md). If pods cannot be distinguished from other sources (no
// local detector for the family) a pod under externalTrafficPolicy Local is treated like `outside`.
struct Routes {
  Route pod;
  Route node;
  Route outside;
  // Whether the traffic policy of these destinations is Local.
  [[nodiscard]] bool policy_local() const { return outside.pool == Pool::kLocal; }
  friend bool operator==(const Routes&, const Routes&) = default;
};

enum class FrontendKind : std::uint8_t { kClusterIp, kExternalIp, kLoadBalancerIp, kNodePort };

// One place where packets come in.
struct Frontend {
  FrontendKind kind = FrontendKind::kClusterIp;
  bool filtered = false;  // the Service port's source ranges apply here, before the routes
  std::uint16_t port = 0;
  IpAddress address;  // unused for kNodePort: the data plane knows the node's addresses
  [[nodiscard]] bool internal() const { return kind == FrontendKind::kClusterIp; }
  friend auto operator<=>(const Frontend&, const Frontend&) = default;
};

// "10.96.0.1:80", "node port 30080".
std::string to_string(const Frontend& frontend);

enum class RefusalCause : std::uint8_t {
  kUnfit,    // no Service may have such an address
  kClaimed,  // another Service has it, or another port of this one
};

// A place where the Service should be served, and is not.
struct RefusedFrontend {
  Frontend frontend;
  RefusalCause cause = RefusalCause::kUnfit;
  std::string reason;  // "203.0.113.9:80 is shop/api's, which is older"
  friend bool operator==(const RefusedFrontend&, const RefusedFrontend&) = default;
};

// Everything a data plane needs for one Service port. A value; shared by pointer, never changed once made. Planes
// and status read the same frontends and routes; only frontends.cc computes them.
struct ServicePortPlan {
  ServicePortKey key;
  std::vector<Frontend> frontends;       // in the order cluster IP, external IPs, load-balancer IPs, node port
  std::vector<RefusedFrontend> refused;  // by the plan, so in every mode; planes may refuse more
  Routes internal;                       // to the cluster IP
  Routes external;                       // to all other frontends
  std::vector<Cidr> source_ranges;       // clients of the load-balancer IPs, of this family; empty = all
  // A source range contains the node's own address: then packets from the load-balancer IP itself are accepted too.
  bool node_ip_in_source_ranges = false;
  bool has_endpoints = false;  // usable endpoints exist somewhere
  // The Service has a node port, an external IP or a load-balancer IP of this family, whether served or not.
  bool externally_accessible = false;
  std::uint16_t health_check_node_port = 0;  // 0 = none
  std::optional<std::uint32_t> affinity_seconds;
  std::vector<RealServer> real_servers;  // union of both pools, sorted by "ip:port"
  std::size_t endpoints_known = 0;       // including those not ready
  // UDP only: every serving endpoint, whether chosen or not. A conntrack entry to one of these is not stale.
  std::vector<AddressPort> serving;
  std::map<std::string, std::string> sluice_annotations;

  [[nodiscard]] const Routes& routes(const Frontend& frontend) const {
    return frontend.internal() ? internal : external;
  }
  [[nodiscard]] bool pool_empty(Pool pool) const;
  [[nodiscard]] const Frontend* cluster_frontend() const;  // null if the cluster IP is not served
  [[nodiscard]] std::uint16_t served_node_port() const;    // 0 if none is served
  friend bool operator==(const ServicePortPlan&, const ServicePortPlan&) = default;
};
using ServicePortPlanPtr = std::shared_ptr<const ServicePortPlan>;

// How a packet's source is recognised as a pod of this node (detectLocalMode), for one family.
struct LocalDetector {
  enum class Kind : std::uint8_t { kNone, kCidr, kInterface, kInterfacePrefix };
  Kind kind = Kind::kNone;
  Cidr cidr;              // kCidr
  std::string interface;  // kInterface: its name; kInterfacePrefix: the prefix of its name
  [[nodiscard]] bool implemented() const { return kind != Kind::kNone; }
  friend bool operator==(const LocalDetector&, const LocalDetector&) = default;
};

// Whose source address is replaced, beyond Services' policies.
struct MasqueradePolicy {
  LocalDetector detector;
  bool masquerade_all = false;
};

// From the configuration; fixed for the life of the process.
struct Settings {
  std::string node_name;                         // lower case, trimmed
  bool allow_external_ips = true;                // feature gate AllowServiceExternalIPs
  std::array<MasqueradePolicy, 2> masquerade{};  // by Family
};

// An address or node port of a Service that is not served, by the plan or by a data plane.
struct Refusal {
  ServicePortKey port;
  Frontend frontend;
  std::string reason;  // "192.0.2.7 is an address of this node (eth0)"
  friend auto operator<=>(const Refusal&, const Refusal&) = default;
};

// One Service's ports of both families, sorted by key, and what its health-check node port reports.
struct ServicePlan {
  std::int64_t created = model::kCreatedUnknown;  // as in model::Service
  std::vector<ServicePortPlanPtr> ports;
  std::uint16_t health_check_node_port = 0;  // 0 = none; needs type LoadBalancer and externalTrafficPolicy Local
  // Distinct addresses of ready endpoints on this node, over all ports, by family. Counted only with a health-check
  // node port.
  std::array<std::size_t, 2> local_ready{};
};

Claim claim_on(const Frontend& frontend, const ServicePortKey& port);

struct Plan {
  std::map<ObjectKey, ServicePlan> services;  // only those that are served
  Claims claims;                              // which Service gets which destination; refers to the keys of `services`
};

// A Service port that appeared (before is null), was removed (after is null) or changed (both).
struct Change {
  ServicePortPlanPtr before;
  ServicePortPlanPtr after;
  [[nodiscard]] const ServicePortKey& key() const { return after ? after->key : before->key; }
};

}  // namespace sluice::plan
