// SPDX-License-Identifier: Apache-2.0
// Checks that depend on the cluster: a configuration that is valid in itself may still contradict the node it runs
// on.
#pragma once

#include <string>
#include <vector>

#include "base/ip.h"
#include "config/config.h"

namespace sluice::config {

struct ClusterFacts {
  Family primary = Family::kIPv4;
  bool dual_stack = true;  // the host supports the other family too
  std::vector<Cidr> pod_cidrs;
  std::vector<std::string> node_port_cidrs;  // nodePortAddresses after expand_node_port_addresses()
};

struct Findings {
  std::vector<std::string> problems;  // to be logged as "Kube-proxy configuration may be incomplete or incorrect"
  bool fatal = false;                 // then exit with fatal_text()
  std::vector<std::string> notes{};   // nothing is wrong, but worth an info line
  [[nodiscard]] std::string fatal_text() const;  // "kube-proxy configuration is incorrect: ..."
};

// Node ports that are served on more addresses than expected. Never fatal.
Findings check_node_ports(const ProxyConfig& config, const ClusterFacts& facts);
// Addresses only of the wrong family. Fatal if no pod could be recognised.
Findings check_families(const ProxyConfig& config, const ClusterFacts& facts);

}  // namespace sluice::config
