// SPDX-License-Identifier: Apache-2.0
// One Service port as this node serves it: on which addresses, and by which real servers. What people look up first.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "dataplane/dataplane.h"
#include "plan/plan.h"

namespace sluice::view {

struct ServedAddress {
  std::string address;                    // "10.96.0.10:53"; for a node port "*:30053"
  std::vector<plan::FrontendKind> kinds;  // several if, for example, an external IP is also the load balancer's
  std::string refused;                    // why it is not served, by the plan or by the data plane; empty if it is
};

struct ServedPort {
  std::string name;  // "kube-system/dns:dns"
  Protocol protocol = Protocol::kTcp;
  Family family = Family::kIPv4;
  std::vector<ServedAddress> addresses;        // each once
  std::vector<plan::RealServer> real_servers;  // each with its pools
  bool has_endpoints = false;                  // somewhere in the cluster
  bool internal_local = false;
  bool external_local = false;
  std::string refused;  // why the kernel does not take the port as it is wanted; empty where it does
};

// `refusals` are those of the port's family; those of other ports are ignored.
ServedPort served_port(const plan::ServicePortPlan& port, std::span<const dataplane::Refusal> refusals);

}  // namespace sluice::view
