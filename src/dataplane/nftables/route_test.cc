// SPDX-License-Identifier: Apache-2.0
// Random plans of Services that claim each other's addresses: every packet ends, by the rules and elements of mode
// nftables, where route() says, whatever chance decides.
#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "base/ip_literals.h"
#include "dataplane/nftables/affinity.h"
#include "dataplane/nftables/encode.h"
#include "dataplane/nftables/layout.h"
#include "dataplane/nftables/test_rule_machine.h"
#include "dataplane/nftables/unit.h"
#include "plan/test_objects.h"
#include "plan/test_random_plan.h"

namespace sluice::dataplane::nftables {
namespace {

constexpr std::uint64_t kPlans = 25;
constexpr int kPackets = 60;

RuleMachine machine_of(const plan::test::RandomPlan& random, const RuleSettings& settings, bool all_addresses) {
  std::map<std::string, std::vector<std::string>> rules;
  RuleMachine::Elements elements;
  for (const sys::NftRule& rule : fixed_rules(settings, all_addresses)) rules[rule.chain()].push_back(rule.text());
  elements[kNodeAddresses].push_back({nft::encode(random.node()), {}});
  std::set<Treatment> treatments;
  for (const plan::ServicePortPlanPtr& port : random.ports()) {
    auto encoded = encode(*port, fresh_slots(*port));
    EXPECT_TRUE(encoded) << encoded.error().what;
    for (auto& [set, of_port] : encoded->elements)
      elements[set].insert(elements[set].end(), of_port.begin(), of_port.end());
    for (const Chain& chain : own_parts(*port, fresh_slots(*port), encoded->treatments, settings).chains) {
      std::vector<std::string>& texts = rules[chain.name];
      EXPECT_TRUE(texts.empty()) << "two chains of one name: " << chain.name;
      for (const sys::NftRule& rule : chain.rules) texts.push_back(rule.text());
    }
    for (const auto& element : encoded->cluster_ips) elements[kClusterIps].push_back(element);
    for (const auto& element : encoded->hairpins) elements[kHairpins].push_back(element);
    treatments.insert(encoded->treatments.begin(), encoded->treatments.end());
  }
  for (const Treatment& treatment : treatments) {
    if (!treatment.sticky.empty()) continue;
    for (const Chain& chain : chains(treatment, settings)) {
      std::vector<std::string> texts;
      for (const sys::NftRule& rule : chain.rules) texts.push_back(rule.text());
      const auto [known, fresh] = rules.emplace(chain.name, texts);
      EXPECT_EQ(known->second, texts) << "two chains of one name: " << chain.name;
    }
  }
  for (const auto& [set, all] : elements) {
    auto sorted = all;
    std::ranges::sort(sorted);
    const bool shared = set == kClusterIps || set == kHairpins;
    EXPECT_TRUE(shared || std::ranges::adjacent_find(sorted, {}, &sys::NftElement::key) == sorted.end()) << set;
  }
  return {settings.family, std::move(rules), std::move(elements)};
}

bool is_cluster_ip(const plan::Plan& plan, const IpAddress& address) {
  for (const auto& [key, service] : plan.services) {
    for (const plan::ServicePortPlanPtr& port : service.ports) {
      if (port->cluster_frontend() != nullptr && port->cluster_frontend()->address == address) return true;
    }
  }
  return false;
}

std::set<Ending> wanted(const plan::Packet& packet, const plan::Routing& routing, const plan::Plan& plan) {
  switch (routing.fate) {
    case plan::Fate::kNotOurs:
      return {{is_cluster_ip(plan, packet.to) ? Ending::Kind::kRejected : Ending::Kind::kUntouched}};
    case plan::Fate::kReject:
      return {{Ending::Kind::kRejected}};
    case plan::Fate::kDrop:
    case plan::Fate::kFiltered:
      return {{Ending::Kind::kDropped}};
    case plan::Fate::kForward:
      break;
  }
  std::set<Ending> endings;
  for (const plan::Candidate& candidate : routing.candidates) {
    // Only what can come by here: see encode.cc on hairpins.
    const bool hairpin = candidate.server.address == packet.from && !routing.route.masquerade &&
                         !candidate.server.on_this_node && routing.frontend.internal();
    endings.insert({Ending::Kind::kTranslated, candidate.server.to_string(), candidate.masquerade && !hairpin});
  }
  return endings;
}

// A pod of another node that calls itself by the cluster IP of this one may be masqueraded or not.
std::set<Ending> but_for_far_hairpins(std::set<Ending> endings, const plan::Packet& packet,
                                      const plan::Routing& routing) {
  if (routing.fate != plan::Fate::kForward || routing.route.masquerade || !routing.frontend.internal()) return endings;
  for (const plan::Candidate& candidate : routing.candidates) {
    if (candidate.server.on_this_node || candidate.server.address != packet.from) continue;
    if (endings.erase({Ending::Kind::kTranslated, candidate.server.to_string(), true}) > 0)
      endings.insert({Ending::Kind::kTranslated, candidate.server.to_string(), false});
  }
  return endings;
}

TEST(Route, PacketsThroughTheRulesGoWhereThePlanSays) {
  std::array<std::size_t, 5> fates{};
  for (const Family family : kFamilies) {
    for (const plan::MasqueradePolicy& policy : plan::test::random_policies(family)) {
      for (std::uint64_t seed = 1; seed <= kPlans; ++seed) {
        plan::test::RandomPlan random(seed, family, policy);
        RuleMachine machine = machine_of(random, {family, policy.detector, 0x4000}, seed % 2 == 0);
        for (int i = 0; i < kPackets; ++i) {
          const plan::Packet packet = random.packet();
          const plan::Routing routing = plan::route(packet, random.plan(), policy.detector);
          ++fates[static_cast<std::size_t>(routing.fate)];
          ASSERT_EQ(but_for_far_hairpins(machine.endings(packet), packet, routing),
                    wanted(packet, routing, random.plan()))
              << to_string(family) << ", plan " << seed << ", " << packet.from.to_string() << " by '"
              << packet.interface << "' to " << join_host_port(packet.to, packet.port) << " "
              << to_string(packet.protocol) << ": " << routing.to_string();
        }
      }
    }
  }
  for (const std::size_t count : fates) EXPECT_GT(count, 50U) << "each fate must be met";
}

RuleMachine machine_of_port(const plan::ServicePortPlan& port, std::optional<nft::Elements> endpoints = std::nullopt) {
  const RuleSettings settings{port.key.family, {plan::LocalDetector::Kind::kCidr, cidr("10.1.0.0/24"), ""}, 0x4000};
  std::map<std::string, std::vector<std::string>> rules;
  for (const sys::NftRule& rule : fixed_rules(settings, true)) rules[rule.chain()].push_back(rule.text());
  const auto encoded = encode(port, fresh_slots(port));
  EXPECT_TRUE(encoded) << encoded.error().what;
  const auto put = [&](const Chain& chain) {
    rules[chain.name].clear();
    for (const sys::NftRule& rule : chain.rules) rules[chain.name].push_back(rule.text());
  };
  for (const Chain& chain : own_parts(port, fresh_slots(port), encoded->treatments, settings).chains) put(chain);
  for (const Treatment& treatment : encoded->treatments) {
    if (!treatment.sticky.empty()) continue;
    for (const Chain& chain : chains(treatment, settings)) put(chain);
  }
  RuleMachine::Elements elements = encoded->elements;
  if (endpoints) elements[kEndpoints] = *std::move(endpoints);
  return {port.key.family, std::move(rules), std::move(elements)};
}

plan::Packet packet_from(const char* source, const char* to) {
  plan::Packet packet;
  packet.from = ip(source);
  packet.to = ip(to);
  packet.port = 80;
  return packet;
}

model::Service balanced_service() {
  model::Service wanted = plan::test::make_service("web", {plan::test::service_port("p", 80)}, {"10.96.0.1"});
  wanted.type = model::ServiceType::kLoadBalancer;
  wanted.ingress = {{ip("203.0.113.9")}};
  return wanted;
}

plan::ServicePortPlanPtr plan_with(const model::Service& service, const std::vector<std::string>& endpoints) {
  return plan::test::plan_of(service,
                             {plan::test::make_slice("s", "web", {plan::test::slice_port("p", 8080)}, endpoints)})
      .ports.at(0);
}

// Weights may leave the cluster without an endpoint and this node with one.
TEST(Route, PolicyLocalServesOutsidersWhoseNodeHasWeightWhereTheClusterHasNone) {
  for (const bool affinity : {false, true}) {
    for (const char* scheduler : {"", "wrr"}) {
      model::Service wanted = balanced_service();
      wanted.external_traffic_policy = model::TrafficPolicy::kLocal;
      if (affinity) wanted.affinity_seconds = 600;
      if (*scheduler != 0) wanted.sluice_annotations = {{"sluice.dev/scheduler", scheduler}};
      plan::ServicePortPlan port = *plan_with(wanted, {"10.1.0.1 @self", "10.1.0.2 @far"});
      for (plan::RealServer& server : port.real_servers) {
        if (server.in(plan::Pool::kLocal)) server.in_cluster_pool = false;
        if (!server.in(plan::Pool::kLocal)) server.weight = 0;
      }
      RuleMachine machine = machine_of_port(port);
      EXPECT_EQ(machine.endings(packet_from("198.51.100.7", "203.0.113.9")),
                (std::set<Ending>{{Ending::Kind::kTranslated, "10.1.0.1:8080", false}}));
      EXPECT_EQ(machine.endings(packet_from("10.1.0.7", "203.0.113.9")), (std::set<Ending>{{Ending::Kind::kRejected}}));
    }
  }
}

// The last endpoint went between the two look-ups of one packet.
TEST(Route, APacketThatFindsNoEndpointInItsChainIsRefused) {
  for (const unsigned count : {1u, 3u}) {
    std::vector<std::string> addresses;
    for (unsigned i = 1; i <= count; ++i) addresses.push_back("10.1.0." + std::to_string(i));
    const auto port = plan_with(balanced_service(), addresses);
    RuleMachine machine = machine_of_port(*port, nft::Elements{});
    for (const char* to : {"10.96.0.1", "203.0.113.9"}) {
      EXPECT_EQ(machine.endings(packet_from("198.51.100.7", to)), (std::set<Ending>{{Ending::Kind::kRejected}}));
    }
  }
}

TEST(Route, SourceRangesDropFirstWhereThereIsNoEndpoint) {
  model::Service wanted = balanced_service();
  wanted.source_ranges = {cidr("198.51.100.0/24")};
  RuleMachine machine = machine_of_port(*plan_with(wanted, {}));
  EXPECT_EQ(machine.endings(packet_from("198.51.100.7", "203.0.113.9")), (std::set<Ending>{{Ending::Kind::kRejected}}));
  EXPECT_EQ(machine.endings(packet_from("192.0.2.7", "203.0.113.9")), (std::set<Ending>{{Ending::Kind::kDropped}}));
  EXPECT_EQ(machine.endings(packet_from("192.0.2.7", "10.96.0.1")), (std::set<Ending>{{Ending::Kind::kRejected}}));
}

}  // namespace
void PrintTo(const Ending& ending, std::ostream* out) {
  static constexpr std::array kNames{"untouched", "to", "rejected", "dropped"};
  *out << kNames.at(static_cast<std::size_t>(ending.kind)) << " " << ending.target
       << (ending.masqueraded ? " hidden" : "");
}
}  // namespace sluice::dataplane::nftables
