// SPDX-License-Identifier: Apache-2.0
// route(): where a packet goes by a plan, and why. Pure: tests compare every data plane with it, and a later
// `sluice trace` shows it. For a packet that opens a connection; later ones follow it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace sluice::plan {

struct Packet {
  IpAddress from;
  std::string interface{};  // where it arrived; empty: it was sent by this node
  bool from_node = false;   // `from` is an address of this node
  IpAddress to;
  bool to_node_ports = false;  // `to` is an address of this node on which node ports are served
  std::uint16_t port = 0;
  Protocol protocol = Protocol::kTcp;
};

enum class Source : std::uint8_t { kPod, kNode, kOutside };
// A pod's interface or address makes it a pod even if it is the node's own, such as a bridge's address among the pods'.
Source source_of(const Packet& packet, const LocalDetector& detector);

enum class Fate : std::uint8_t {
  kNotOurs,   // no Service is served there
  kForward,   // to one of the candidates
  kReject,    // no endpoints anywhere
  kDrop,      // policy Local, and no endpoint here
  kFiltered,  // dropped, since the source is outside the source ranges
};

// A real server that the packet may be sent to. The choice is random, or by session affinity.
struct Candidate {
  RealServer server;
  // By the route, or because the server is the source itself (hairpin).
  bool masquerade = false;
  friend bool operator==(const Candidate&, const Candidate&) = default;
};

struct Routing {
  Fate fate = Fate::kNotOurs;
  Source source = Source::kOutside;
  // By which Service port and which of its frontends; unset if it is not ours.
  ServicePortPlanPtr service_port;
  Frontend frontend;
  Route route;
  std::vector<Candidate> candidates;  // with kForward; in the order of the real servers
  // "default/web:http at 203.0.113.9:80, from outside: one of 2 of the local pool, source kept"
  [[nodiscard]] std::string to_string() const;
};

Routing route(const Packet& packet, const Plan& plan, const LocalDetector& detector);

}  // namespace sluice::plan
