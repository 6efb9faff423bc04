// SPDX-License-Identifier: Apache-2.0
// What this node serves with: its mode, the families that it can serve, and a data plane for each. All of it follows
// from the configuration, the Node and the host, and is logged like in kube-proxy.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/detect.h"
#include "config/flags.h"
#include "daemon/mechanisms.h"
#include "daemon/own_node.h"
#include "dataplane/dataplane.h"

namespace sluice::daemon {

struct Serving {
  Mechanisms mechanisms;
  dataplane::Mechanism* mode = nullptr;      // the configured one of them
  std::vector<Family> families;              // the primary one first
  config::LocalDetectors detectors;          // which sources are pods of this node
  std::vector<std::string> node_port_cidrs;  // nodePortAddresses, with this node's own in place of "primary"
};

struct ProbedFamilies {
  config::ByFamily<bool> supported{};
  config::ByFamily<std::string> reasons;  // why not
};
// An error where one can be served and it could not be found out whether the other one can: a new attempt, by another
// process, is better than to serve one family until that process ends.
Result<ProbedFamilies> probe_families(dataplane::Mechanism& mode);

// An error if the mode cannot serve the node's primary family here.
Result<Serving> choose_serving(const config::CommandLine& command, const OwnNode& node);
// An error if the configuration contradicts the node such that no pod could be recognised.
Result<> check_against_node(const config::ProxyConfig& config, const Serving& serving, const OwnNode& node);
// In the order of the families. They have written nothing yet, except with --init-only the node's settings.
Result<std::vector<std::unique_ptr<dataplane::DataPlane>>> open_data_planes(
    const config::CommandLine& command, const Serving& serving, const std::vector<IpAddress>& api_server_addresses);

// Where node ports of a family are served, by this host's current addresses.
dataplane::NodePortAddresses node_port_addresses_now(const Serving& serving, Family family);
// Where health-check node ports listen.
std::vector<IpAddress> health_check_addresses_now(const Serving& serving);

}  // namespace sluice::daemon
