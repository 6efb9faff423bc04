// SPDX-License-Identifier: Apache-2.0
#include "sync/conntrack_cleaner.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "base/ip_literals.h"
#include "plan/frontends.h"

namespace sluice::sync {
namespace {

using plan::AddressPort;
using plan::Change;
using plan::PortDraft;
using plan::ServicePortPlan;
using plan::ServicePortPlanPtr;

AddressPort at(const char* address, std::uint16_t port) {
  return {ip(address), port};
}

// A Service port 10.96.0.10:53 with all kinds of destinations.
PortDraft draft(std::vector<AddressPort> serving, Protocol protocol = Protocol::kUdp) {
  PortDraft port;
  port.key = {{"kube-system", "dns"}, "dns", protocol, Family::kIPv4};
  port.cluster_ip = ip("10.96.0.10");
  port.port = 53;
  port.node_port = 30053;
  port.external_ips = {ip("192.0.2.10")};
  port.load_balancer_ips = {ip("203.0.113.10")};
  port.serving = std::move(serving);
  return port;
}

std::shared_ptr<ServicePortPlan> made(PortDraft port) {
  return std::make_shared<ServicePortPlan>(plan::finish(std::move(port), {}));
}

std::shared_ptr<ServicePortPlan> dns(std::vector<AddressPort> serving, Protocol protocol = Protocol::kUdp) {
  return made(draft(std::move(serving), protocol));
}

NodePortScope node_addresses() {
  return std::set<IpAddress>{ip("198.51.100.1"), ip("127.0.0.1")};
}

// A flow from a client to `to` whose replies come from `from`.
sys::Flow flow(const AddressPort& to, const AddressPort& from, Protocol protocol = Protocol::kUdp,
               std::uint16_t zone = 0) {
  return {protocol, ip("10.244.9.9"), to.address, from.address, 40000, to.port, from.port, zone};
}

// Applies one change to a cleaner that knows `before`, and returns the predicate.
struct Outcome {
  ConntrackCleaner cleaner;
  std::optional<StaleFlows> stale;
};
std::unique_ptr<Outcome> after_change(const ServicePortPlanPtr& before, const ServicePortPlanPtr& after,
                                      const NodePortScope& scope = node_addresses()) {
  auto outcome = std::make_unique<Outcome>();
  if (before) outcome->cleaner.note({nullptr, before});
  outcome->cleaner.note({before, after});
  outcome->stale = outcome->cleaner.stale_after({{before, after}}, [&scope] { return scope; });
  return outcome;
}

const AddressPort kOld = at("10.244.1.7", 5353);
const AddressPort kNew = at("10.244.1.8", 5353);
const AddressPort kClusterIp = at("10.96.0.10", 53);

struct Row {
  const char* name;
  sys::Flow flow;
  bool stale;
};

void expect_rows(const StaleFlows& stale, const std::vector<Row>& rows) {
  for (const Row& row : rows) EXPECT_EQ(stale(row.flow), row.stale) << row.name;
}

// kube-proxy's TestCleanStaleEntries, by rows.
TEST(ConntrackCleaner, FlowsThatDoNotGoToAServingEndpointAreStale) {
  const auto outcome = after_change(dns({kOld}), dns({kNew}));
  ASSERT_TRUE(outcome->stale);
  expect_rows(*outcome->stale,
              {
                  {"cluster IP to the endpoint that went", flow(kClusterIp, kOld), true},
                  {"cluster IP to the endpoint that serves", flow(kClusterIp, kNew), false},
                  {"cluster IP to the right address, old port", flow(kClusterIp, at("10.244.1.8", 53)), true},
                  {"cluster IP, never translated", flow(kClusterIp, kClusterIp), true},
                  {"load-balancer IP to the endpoint that went", flow(at("203.0.113.10", 53), kOld), true},
                  {"load-balancer IP to the endpoint that serves", flow(at("203.0.113.10", 53), kNew), false},
                  {"external IP to the endpoint that went", flow(at("192.0.2.10", 53), kOld), true},
                  {"external IP to the endpoint that serves", flow(at("192.0.2.10", 53), kNew), false},
                  {"node port to the endpoint that went", flow(at("198.51.100.1", 30053), kOld), true},
                  {"node port to the endpoint that serves", flow(at("198.51.100.1", 30053), kNew), false},
                  {"node port on loopback to the endpoint that went", flow(at("127.0.0.1", 30053), kOld), true},
                  {"another port of the cluster IP", flow(at("10.96.0.10", 54), kOld), false},
                  {"another Service's cluster IP", flow(at("10.96.0.11", 53), kOld), false},
                  {"straight to the endpoint that went", flow(kOld, kOld), false},
                  {"TCP", flow(kClusterIp, kOld, Protocol::kTcp), false},
                  {"SCTP", flow(kClusterIp, kOld, Protocol::kSctp), false},
                  {"to the endpoint that went, in another zone", flow(kClusterIp, kOld, Protocol::kUdp, 5), true},
                  {"never translated in another zone: not our view of it",
                   flow(kClusterIp, kClusterIp, Protocol::kUdp, 5), false},
              });
}

TEST(ConntrackCleaner, NodePortNumbersOfOtherHostsAreNotOurs) {
  const auto outcome = after_change(dns({kOld}), dns({kNew}));
  ASSERT_TRUE(outcome->stale);
  expect_rows(*outcome->stale,
              {
                  {"another host's port of that number, passing through",
                   flow(at("203.0.113.99", 30053), at("203.0.113.99", 30053)), false},
                  {"another host's port, translated by somebody else",
                   flow(at("203.0.113.99", 30053), at("203.0.113.50", 7)), false},
                  {"an address that was the node's until now, to the endpoint that went",
                   flow(at("198.51.100.77", 30053), kOld), true},
                  {"this node's, never translated", flow(at("198.51.100.1", 30053), at("198.51.100.1", 30053)), true},
              });
}

TEST(ConntrackCleaner, ANodePortNumberThatIsAnotherServicesPortIsNotConfused) {
  ConntrackCleaner cleaner;
  PortDraft other = draft({at("10.244.3.3", 1)});
  other.key.service.name = "other";
  other.cluster_ip = ip("198.51.100.1");  // claims an address of the node
  other.port = 30053;
  other.node_port = 0;
  other.external_ips.clear();
  other.load_balancer_ips.clear();
  cleaner.note({nullptr, made(other)});
  const auto before = dns({kOld});
  const auto after = dns({kNew});
  cleaner.note({nullptr, before});
  cleaner.note({before, after});
  const auto stale = cleaner.stale_after({{before, after}}, [] { return node_addresses(); });
  ASSERT_TRUE(stale);
  EXPECT_FALSE((*stale)(flow(at("198.51.100.1", 30053), at("10.244.3.3", 1))));
  EXPECT_TRUE((*stale)(flow(at("127.0.0.1", 30053), kOld)));
}

TEST(ConntrackCleaner, WithoutTheNodesAddressesOnlyKnownGoneEndpointsCountForNodePorts) {
  const auto outcome = after_change(dns({kOld}), dns({kNew}), std::nullopt);
  ASSERT_TRUE(outcome->stale);
  expect_rows(*outcome->stale,
              {
                  {"to the endpoint that went", flow(at("198.51.100.1", 30053), kOld), true},
                  {"to something unknown", flow(at("198.51.100.1", 30053), at("10.244.7.7", 1)), false},
                  {"never translated", flow(at("198.51.100.1", 30053), at("198.51.100.1", 30053)), false},
                  {"the cluster IP needs no addresses", flow(kClusterIp, at("10.244.7.7", 1)), true},
              });
}

TEST(ConntrackCleaner, AServiceThatLosesAllEndpointsLosesTheFlowsToThemAndNoOthers) {
  const auto outcome = after_change(dns({kOld}), dns({}));
  ASSERT_TRUE(outcome->stale);
  expect_rows(*outcome->stale, {
                                   {"to the endpoint that went", flow(kClusterIp, kOld), true},
                                   {"node port to the endpoint that went", flow(at("198.51.100.1", 30053), kOld), true},
                                   {"never translated", flow(kClusterIp, kClusterIp), false},
                                   {"translated by somebody else", flow(kClusterIp, at("10.244.7.7", 53)), false},
                               });
}

TEST(ConntrackCleaner, ADeletedServiceLosesTheFlowsToItsEndpointsAndNoOthers) {
  const auto outcome = after_change(dns({kOld, kNew}), nullptr);
  ASSERT_TRUE(outcome->stale);
  expect_rows(*outcome->stale,
              {
                  {"to one endpoint", flow(kClusterIp, kOld), true},
                  {"to the other endpoint, by the external IP", flow(at("192.0.2.10", 53), kNew), true},
                  {"never translated", flow(kClusterIp, kClusterIp), false},
                  {"translated by somebody else", flow(kClusterIp, at("10.244.7.7", 53)), false},
              });
}

TEST(ConntrackCleaner, TheFirstEndpointFreesFlowsThatWereNeverTranslated) {
  const auto outcome = after_change(dns({}), dns({kNew}));
  ASSERT_TRUE(outcome->stale);
  expect_rows(*outcome->stale,
              {
                  {"never translated", flow(kClusterIp, kClusterIp), true},
                  {"to the endpoint", flow(kClusterIp, kNew), false},
                  {"node port, never translated", flow(at("198.51.100.1", 30053), at("198.51.100.1", 30053)), true},
              });
}

TEST(ConntrackCleaner, ANewDestinationOfAServiceWithEndpointsFreesFlowsThatWereNeverTranslated) {
  PortDraft left = draft({kOld});
  left.external_ips.clear();
  const auto before = made(left);
  const auto outcome = after_change(before, dns({kOld}));
  ASSERT_TRUE(outcome->stale);
  expect_rows(*outcome->stale,
              {
                  {"the new external IP, never translated", flow(at("192.0.2.10", 53), at("192.0.2.10", 53)), true},
                  {"the cluster IP is not looked at", flow(kClusterIp, at("10.244.7.7", 53)), false},
              });
}

TEST(ConntrackCleaner, AChangedPortNumberLosesTheFlowsToTheEndpointsThatWentWithIt) {
  PortDraft after = draft({kNew});
  after.port = 54;
  after.node_port = 30054;
  const auto outcome = after_change(dns({kOld}), made(after));
  ASSERT_TRUE(outcome->stale);
  expect_rows(*outcome->stale,
              {
                  {"old port to the endpoint that went", flow(kClusterIp, kOld), true},
                  {"old port, never translated", flow(kClusterIp, kClusterIp), false},
                  {"old node port to the endpoint that went", flow(at("198.51.100.1", 30053), kOld), true},
                  {"new node port, never translated", flow(at("198.51.100.1", 30054), at("198.51.100.1", 30054)), true},
              });
}

// The same address and port under another port name: two changes, one destination.
TEST(ConntrackCleaner, ARenamedPortKeepsTheFlowsToItsEndpoints) {
  ConntrackCleaner cleaner;
  const auto before = dns({kOld});
  auto after = std::make_shared<ServicePortPlan>(*before);
  after->key.port_name = "dns-udp";
  cleaner.note({nullptr, before});
  const std::vector<Change> changes{{before, nullptr}, {nullptr, after}};
  for (const Change& change : changes) cleaner.note(change);
  const auto stale = cleaner.stale_after(changes, [] { return node_addresses(); });
  ASSERT_TRUE(stale);
  EXPECT_FALSE((*stale)(flow(kClusterIp, kOld)));
  EXPECT_FALSE((*stale)(flow(at("198.51.100.1", 30053), kOld)));
  EXPECT_TRUE((*stale)(flow(kClusterIp, kNew)));
}

TEST(ConntrackCleaner, EndpointsOfEveryServiceThatSharesADestinationCount) {
  ConntrackCleaner cleaner;
  const auto first = dns({kOld});
  auto second = std::make_shared<ServicePortPlan>(*dns({kNew}));
  second->key.service.name = "second";
  cleaner.note({nullptr, first});
  cleaner.note({nullptr, second});
  cleaner.note({first, nullptr});
  const auto stale = cleaner.stale_after({{first, nullptr}}, [] { return node_addresses(); });
  ASSERT_TRUE(stale);
  EXPECT_TRUE((*stale)(flow(kClusterIp, kOld)));
  EXPECT_FALSE((*stale)(flow(kClusterIp, kNew)));
}

TEST(ConntrackCleaner, ADestinationThatIsLeftToAnotherServiceGoesToThatOnesEndpoints) {
  ConntrackCleaner cleaner;
  const auto before = dns({kOld});
  PortDraft left = draft({kOld});
  left.external_ips.clear();
  left.node_port = 0;
  const auto after = made(left);
  PortDraft second = draft({kNew});
  second.key.service.name = "second";
  second.cluster_ip = ip("10.96.0.11");
  cleaner.note({nullptr, before});
  cleaner.note({nullptr, made(second)});
  cleaner.note({before, after});
  const auto stale = cleaner.stale_after({{before, after}}, [] { return node_addresses(); });
  ASSERT_TRUE(stale);
  expect_rows(*stale, {
                          {"external IP to the one that left it", flow(at("192.0.2.10", 53), kOld), true},
                          {"external IP to the one that has it", flow(at("192.0.2.10", 53), kNew), false},
                          {"node port to the one that left it", flow(at("198.51.100.1", 30053), kOld), true},
                          {"the cluster IP is still the first one's", flow(kClusterIp, kOld), false},
                      });
}

TEST(ConntrackCleaner, AChosenRealServerIsNeverStaleEvenIfItsSliceCallsItNotServing) {
  auto after = dns({});
  after->real_servers = {{.address = kNew.address, .port = kNew.port}};
  const auto outcome = after_change(dns({kOld}), after);
  ASSERT_TRUE(outcome->stale);
  EXPECT_FALSE((*outcome->stale)(flow(kClusterIp, kNew)));
  EXPECT_TRUE((*outcome->stale)(flow(kClusterIp, kOld)));
}

TEST(ConntrackCleaner, NothingIsDumpedWhereNoFlowCanBeStale) {
  const auto with_affinity = dns({kOld});
  with_affinity->affinity_seconds = 10;
  PortDraft fewer_addresses = draft({kOld});
  fewer_addresses.external_ips.clear();
  const struct {
    const char* name;
    ServicePortPlanPtr before;
    ServicePortPlanPtr after;
  } rows[] = {
      {"TCP lost its endpoint", dns({kOld}, Protocol::kTcp), dns({}, Protocol::kTcp)},
      {"SCTP was deleted", dns({kOld}, Protocol::kSctp), nullptr},
      {"one endpoint more", dns({kOld}), dns({kOld, kNew})},
      {"affinity changed", dns({kOld}), with_affinity},
      {"an external IP went, its endpoints stay", dns({kOld}), made(fewer_addresses)},
      {"new without endpoints", nullptr, dns({})},
      {"deleted without endpoints", dns({}), nullptr},
  };
  for (const auto& row : rows) EXPECT_FALSE(after_change(row.before, row.after)->stale) << row.name;
}

TEST(ConntrackCleaner, TheNodesAddressesAreUsedOnlyForNodePorts) {
  ConntrackCleaner cleaner;
  PortDraft old_draft = draft({kOld});
  old_draft.node_port = 0;
  PortDraft new_draft = draft({kNew});
  new_draft.node_port = 0;
  const auto before = made(old_draft);
  const auto after = made(new_draft);
  cleaner.note({nullptr, after});
  int asked = 0;
  const auto scope = [&asked]() -> NodePortScope {
    ++asked;
    return std::nullopt;
  };
  EXPECT_TRUE(cleaner.stale_after({{before, after}}, scope));
  EXPECT_EQ(asked, 0);
}

TEST(ConntrackCleaner, AfterARestartOnlyFlowsToEndpointsThatAreGoneAreStale) {
  ConntrackCleaner cleaner;
  PortDraft empty = draft({});
  empty.key.service.name = "empty";
  empty.cluster_ip = ip("10.96.0.20");
  empty.node_port = 0;
  empty.external_ips.clear();
  empty.load_balancer_ips.clear();
  cleaner.note({nullptr, dns({kNew})});
  cleaner.note({nullptr, made(empty)});
  const auto stale = cleaner.stale_after_full_sync({}, [] { return node_addresses(); });
  ASSERT_TRUE(stale);
  const AddressPort empty_ip = at("10.96.0.20", 53);
  expect_rows(*stale, {
                          {"to an endpoint that serves", flow(kClusterIp, kNew), false},
                          {"to an endpoint that went", flow(kClusterIp, kOld), true},
                          {"never translated, endpoints are there", flow(kClusterIp, kClusterIp), true},
                          {"node port to an endpoint that serves", flow(at("198.51.100.1", 30053), kNew), false},
                          {"node port to an endpoint that went", flow(at("198.51.100.1", 30053), kOld), true},
                          {"no endpoints, never translated", flow(empty_ip, empty_ip), false},
                          {"no endpoints, translated: its endpoint went", flow(empty_ip, kOld), true},
                          {"not a Service's", flow(at("203.0.113.99", 53), kOld), false},
                          {"another host's port of a node port's number",
                           flow(at("203.0.113.99", 30053), at("203.0.113.99", 30053)), false},
                          {"TCP", flow(kClusterIp, kOld, Protocol::kTcp), false},
                      });
}

TEST(ConntrackCleaner, AfterARestartWithoutUdpNothingIsDumped) {
  ConntrackCleaner cleaner;
  cleaner.note({nullptr, dns({kOld}, Protocol::kTcp)});
  EXPECT_FALSE(cleaner.stale_after_full_sync({}, [] { return node_addresses(); }));
}

// kube-proxy's TestFlowFilter_Exhaustive: of a large table exactly the stale flows are named.
TEST(ConntrackCleaner, OfManyServicesAndFlowsExactlyTheStaleOnesAreFound) {
  ConntrackCleaner cleaner;
  std::vector<Change> changes;
  constexpr std::uint32_t kServices = 1000;
  const auto service = [](std::uint32_t i, std::vector<AddressPort> serving) {
    PortDraft port;
    port.key = {{"ns", fmt::format("s{}", i)}, "p", Protocol::kUdp, Family::kIPv4};
    port.cluster_ip = IpAddress::from_v4(0x0A600000U + i);
    port.port = 53;
    port.serving = std::move(serving);
    return made(port);
  };
  const auto endpoint = [](std::uint32_t i, std::uint32_t n) {
    return AddressPort{IpAddress::from_v4(0x0AF40000U + i * 4 + n), 5353};
  };
  for (std::uint32_t i = 0; i < kServices; ++i) {
    const auto before = service(i, {endpoint(i, 0), endpoint(i, 1)});
    cleaner.note({nullptr, before});
    if (i % 10 != 0) continue;
    const auto after = service(i, {endpoint(i, 1)});
    cleaner.note({before, after});
    changes.push_back({before, after});
  }
  const auto stale = cleaner.stale_after(changes, [] { return node_addresses(); });
  ASSERT_TRUE(stale);
  for (std::uint32_t i = 0; i < kServices; ++i) {
    const AddressPort destination{IpAddress::from_v4(0x0A600000U + i), 53};
    EXPECT_EQ((*stale)(flow(destination, endpoint(i, 0))), i % 10 == 0) << i;
    EXPECT_FALSE((*stale)(flow(destination, endpoint(i, 1)))) << i;
  }
}

}  // namespace
}  // namespace sluice::sync
