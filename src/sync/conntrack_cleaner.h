// SPDX-License-Identifier: Apache-2.0
// Finds the UDP flows that the kernel still sends to endpoints that are gone. Pure: it takes the plan's changes and
// returns a predicate over flows; the caller dumps and deletes. TCP and SCTP flows are never concerned: their
// endpoints themselves signal the end of a connection.
//
// The rule, by a flow's original destination (a cluster IP, load-balancer IP or external IP with its port, or a node
// port):
//  1. Only destinations of Service ports are judged that just changed in a way that can leave stale flows: an endpoint
//     was removed, or a destination without endpoints has some. After a full sync (a new process, a failure, a flush)
//     it is unknown what was live, so all are judged.
//  2. There are endpoints: a flow whose replies come from anything else is stale. That includes a flow without any
//     translation (replies from the destination itself): it was made while there were no endpoints and would never
//     reach one.
//  3. There are none, or the destination is no longer served: a flow is stale if it was sent to one of the removed
//     endpoints. After a full sync these are not known: stale is then what was sent to anything but the destination
//     itself.
// kube-proxy differs in 3: it leaves all flows of a Service without endpoints, and those of a deleted one.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "plan/plan.h"
#include "sys/conntrack.h"

namespace sluice::sync {

// The addresses that node ports are served on. Nothing if they could not be listed; then only flows to endpoints that
// are known to be gone are stale.
using NodePortScope = std::optional<std::set<IpAddress>>;

// The predicate. Refers to the ConntrackCleaner that made it, and is valid until that notes more changes.
class StaleFlows {
 public:
  bool operator()(const sys::Flow& flow) const;

 private:
  friend class ConntrackCleaner;
  struct Rule {
    std::set<plan::AddressPort> endpoints;  // where flows may go
    std::set<plan::AddressPort> gone;       // where they went before
    bool unknown = false;                   // `gone` does not have all that were removed
    [[nodiscard]] bool stale(const sys::Flow& flow) const;
  };
  using Owners = std::map<plan::AddressPort, std::vector<plan::ServicePortPlanPtr>>;

  const Owners* known_ = nullptr;
  std::map<plan::AddressPort, Rule> addresses_;
  std::map<std::uint16_t, Rule> node_ports_;
  NodePortScope scope_;
};

// For one family.
class ConntrackCleaner {
 public:
  // Must be called for every change of the plan, in order. Costs what the change carries; only UDP ports are kept.
  void note(const plan::Change& change);

  // What is stale after `applied` was programmed; nothing if no flow can be, so that the table need not be dumped.
  // `scope` is called only if node ports are concerned.
  [[nodiscard]] std::optional<StaleFlows> stale_after(const std::vector<plan::Change>& applied,
                                                      const std::function<NodePortScope()>& scope) const;
  // The same if it is not known what was live before: every UDP port that is served, and `applied`.
  [[nodiscard]] std::optional<StaleFlows> stale_after_full_sync(const std::vector<plan::Change>& applied,
                                                                const std::function<NodePortScope()>& scope) const;

 private:
  void add_rules(const plan::Change& change, StaleFlows& stale) const;
  [[nodiscard]] StaleFlows::Rule& address_rule(const plan::AddressPort& destination, StaleFlows& stale) const;
  [[nodiscard]] StaleFlows::Rule& node_port_rule(std::uint16_t port, StaleFlows& stale) const;
  [[nodiscard]] std::optional<StaleFlows> finish(StaleFlows stale, const std::function<NodePortScope()>& scope) const;

  // In one plan a destination belongs to one Service port. While it passes to another one, flows to the endpoints of
  // both are right.
  StaleFlows::Owners addresses_;
  std::map<std::uint16_t, std::vector<plan::ServicePortPlanPtr>> node_ports_;
};

}  // namespace sluice::sync
