// SPDX-License-Identifier: Apache-2.0
// Random plans of Services that claim each other's addresses: every packet ends, by the rules and elements of mode
// nftables, where route() says, whatever chance decides.
#include <gtest/gtest.h>

#include <array>

#include "dataplane/nftables/affinity.h"
#include "dataplane/nftables/encode.h"
#include "dataplane/nftables/layout.h"
#include "dataplane/nftables/test_rule_machine.h"
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

}  // namespace
void PrintTo(const Ending& ending, std::ostream* out) {
  static constexpr std::array kNames{"untouched", "to", "rejected", "dropped"};
  *out << kNames.at(static_cast<std::size_t>(ending.kind)) << " " << ending.target
       << (ending.masqueraded ? " hidden" : "");
}
}  // namespace sluice::dataplane::nftables
