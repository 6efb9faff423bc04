// SPDX-License-Identifier: Apache-2.0
// The objects of the guided tour as YAML, as kubectl would show them: Nodes, Services and their EndpointSlices; and the
// proxies' configuration file as written by kubeadm.
#pragma once

#include <string>
#include <vector>

#include "lab/topology.h"

namespace sluice::lab {

struct ExamplePort {
  std::string name;
  Protocol protocol = Protocol::kTcp;
  std::uint16_t port = 0;
  std::uint16_t target = 0;
  std::uint16_t node_port = 0;  // 0 = none
};

struct ExampleService {
  std::string name_space;
  std::string name;
  std::string type = "ClusterIP";
  std::vector<std::string> cluster_ips;
  std::vector<ExamplePort> ports;
  std::vector<std::string> pods;            // its endpoints, by name in the topology
  std::vector<std::string> more_spec = {};  // further lines of its spec, one field each
  std::string load_balancer_ip = {};
};

// The Services of the tour, as they are at its start.
std::vector<ExampleService> walkthrough_services();
ExampleService walkthrough_service(const std::string& name);

// As `kubectl get services` shows them, with their endpoints.
std::vector<std::vector<std::string>> service_rows(const std::vector<ExampleService>& services);
// A file with the Service and an EndpointSlice per family.
std::string service_manifest(const ExampleService& service, const Topology& topology);
std::string node_manifest(const NodeSpec& node);
std::string proxy_config(const std::string& mode);

}  // namespace sluice::lab
