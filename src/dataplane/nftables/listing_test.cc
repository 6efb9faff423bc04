// SPDX-License-Identifier: Apache-2.0
// Our tables as the real nft program prints them: what an operator sees, byte for byte.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/test_paths.h"
#include "dataplane/nftables/test_kernel.h"
#include "plan/test_objects.h"

namespace sluice::dataplane::nftables {
namespace {

using plan::test::ips;
using plan::test::make_slice;
using plan::test::service_port;
using plan::test::slice_port;

// SLUICE_UPDATE_GOLDEN=1 writes the file instead.
void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = source_path("test/golden/nftables/" + name);
  if (std::getenv("SLUICE_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << text;
    return;
  }
  std::stringstream wanted;
  wanted << std::ifstream(path).rdbuf();
  EXPECT_EQ(text, wanted.str()) << path << ": if this is the intended text, run with SLUICE_UPDATE_GOLDEN=1";
}

struct Net {
  Family family;
  const char* name;
  const char* cluster_net;  // what addresses begin with
  const char* pod_net;
  const char* pods;
  const char* balancer;
  const char* node;
  const char* range;
};
constexpr Net kNets[] = {
    {Family::kIPv4, "ip", "172.30.10.", "10.180.0.", "10.180.0.0/16", "192.0.2.80", "192.168.0.2", "203.0.113.0/25"},
    {Family::kIPv6, "ip6", "fd00:172::", "fd00:180::", "fd00:180::/64", "2001:db8::80", "2001:db8:168::2",
     "2001:db8:113::/48"},
};

// The Services of upstream's own worked example: web has everything, db nothing special, dns no endpoints.
Changes everything(const Net& net) {
  const auto address = [](const char* begin, int host) { return begin + std::to_string(host); };
  model::Service web;
  web.key = {"shop", "web"};
  web.type = model::ServiceType::kLoadBalancer;
  web.cluster_ips = ips({address(net.cluster_net, 20)});
  web.ingress = {{ip(net.balancer)}};
  web.external_traffic_policy = model::TrafficPolicy::kLocal;
  web.affinity_seconds = 10800;
  web.source_ranges = {cidr(net.range)};
  web.ports = {service_port("http", 80, Protocol::kTcp, 30080)};
  model::Service db;
  db.key = {"shop", "db"};
  db.type = model::ServiceType::kNodePort;
  db.cluster_ips = ips({address(net.cluster_net, 21)});
  db.ports = {service_port("", 5432, Protocol::kTcp, 30432)};
  model::Service dns;
  dns.key = {"shop", "dns"};
  dns.cluster_ips = ips({address(net.cluster_net, 22)});
  dns.ports = {service_port("dns", 53, Protocol::kUdp)};
  model::Update update;
  update.services = {web, db, dns};
  update.slices = {
      make_slice(
          "web-1", "web", {slice_port("http", 8080)},
          {address(net.pod_net, 1) + " @self", address(net.pod_net, 2) + " @far", address(net.pod_net, 3) + " @far"},
          net.family),
      make_slice("db-1", "db", {slice_port("", 5432)},
                 {address(net.pod_net, 7) + " @self", address(net.pod_net, 8) + " @far"}, net.family),
  };
  model::Snapshot snapshot;
  (void)snapshot.apply(std::move(update));
  plan::MasqueradePolicy policy;
  policy.detector = {plan::LocalDetector::Kind::kCidr, cidr(net.pods), ""};
  plan::Planner planner({"self", true, {policy, policy}});
  (void)planner.replan_all(snapshot, {});
  Changes changes;
  changes.full = true;
  changes.node_port_addresses = {false, {ip(net.node)}};
  for (const auto& [key, service] : planner.plan().services) {
    for (const plan::ServicePortPlanPtr& port : service.ports) changes.ports.push_back({nullptr, port});
  }
  return changes;
}

TEST(Listing, IsWhatNftPrints) {
  for (const Net& net : kNets) {
    in_fresh_netns([&] {
      Hand hand;
      Options options;
      options.family = net.family;
      options.detector = {plan::LocalDetector::Kind::kCidr, cidr(net.pods), ""};
      const auto plane = open_plane(hand, options);
      const auto applied = plane->apply(everything(net));
      ASSERT_TRUE(applied) << applied.error().what;
      EXPECT_EQ(applied->refused.size(), 0u);
      expect_golden(std::string("everything.") + net.name + ".nft",
                    run({"nft", "-n", "list", "table", net.name, kTableName}));
    });
  }
}

}  // namespace
}  // namespace sluice::dataplane::nftables
