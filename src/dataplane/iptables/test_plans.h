// SPDX-License-Identifier: Apache-2.0
// Plans for this room's tests: the Service of the worked example, and small helpers to make others.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "base/ip_literals.h"
#include "base/test_paths.h"
#include "dataplane/iptables/encode.h"
#include "plan/frontends.h"

namespace sluice::dataplane::iptables {

enum class Where : std::uint8_t { kHere, kElsewhere };

// Adds a real server to both pools, as far as the port uses them.
inline void add_server(plan::PortDraft& port, std::string_view address, std::uint16_t number, Where where) {
  plan::RealServer server;
  server.address = ip(address);
  server.port = number;
  server.on_this_node = where == Where::kHere;
  server.in_cluster_pool = port.uses_cluster_pool;
  server.in_local_pool = port.uses_local_pool && where == Where::kHere;
  port.has_endpoints = true;
  ++port.endpoints_known;
  if (server.in_cluster_pool || server.in_local_pool) port.real_servers.push_back(server);
}

// A ClusterIP Service port without real servers.
inline plan::PortDraft cluster_ip_port(std::string_view namespace_name, std::string_view name,
                                       std::string_view port_name, std::string_view address) {
  plan::PortDraft port;
  port.key = {
      {std::string(namespace_name), std::string(name)}, std::string(port_name), Protocol::kTcp, ip(address).family()};
  port.cluster_ip = ip(address);
  port.port = 80;
  port.uses_cluster_pool = true;
  return port;
}

// shop/web of the reference's worked example, with `local` of its three real servers on this node.
inline plan::PortDraft worked_example(std::size_t local = 1, std::size_t servers = 3) {
  plan::PortDraft port = cluster_ip_port("shop", "web", "http", "172.30.10.20");
  port.node_port = 30080;
  port.health_check_node_port = 32123;
  port.load_balancer_ips = {ip("192.0.2.80")};
  port.source_ranges = {cidr("203.0.113.0/25"), cidr("192.168.0.0/24")};
  port.node_ip_in_source_ranges = true;
  port.external_local = true;
  port.externally_accessible = true;
  port.uses_local_pool = true;
  port.affinity_seconds = 10800;
  const std::vector<std::string> addresses{"10.180.0.1", "10.180.1.1", "10.180.2.1"};
  for (std::size_t i = 0; i < servers; ++i)
    add_server(port, addresses[i], 8080, i < local ? Where::kHere : Where::kElsewhere);
  return port;
}

inline plan::LocalDetector pods_in(std::string_view prefix) {
  plan::LocalDetector detector;
  detector.kind = plan::LocalDetector::Kind::kCidr;
  detector.cidr = cidr(prefix);
  return detector;
}

// Planned with a detector; which one it is shows only in the rules.
inline plan::ServicePortPlanPtr shared(plan::PortDraft port,
                                       const plan::MasqueradePolicy& policy = {pods_in("10.0.0.0/8"), false}) {
  return std::make_shared<const plan::ServicePortPlan>(plan::finish(std::move(port), policy));
}

inline std::string testdata(const std::string& name) {
  return source_path("src/dataplane/iptables/testdata/" + name);
}

inline std::string read_file(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Compares byte for byte with a file of testdata; SLUICE_UPDATE_GOLDEN=1 writes it instead.
inline void expect_golden(const std::string& name, const std::string& text) {
  if (std::getenv("SLUICE_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(testdata(name)) << text;
    return;
  }
  EXPECT_EQ(text, read_file(testdata(name))) << "if this is the intended text, run with SLUICE_UPDATE_GOLDEN=1";
}

}  // namespace sluice::dataplane::iptables
