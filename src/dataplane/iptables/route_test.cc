// SPDX-License-Identifier: Apache-2.0
// Random plans of Services that claim each other's addresses: every packet ends, by the rules of mode iptables, where
// route() says. (The truth table in every combination, of one Service port, is truth_table_test.cc's.)
#include <gtest/gtest.h>

#include <array>

#include "dataplane/iptables/test_rule_tracer.h"
#include "plan/test_random_plan.h"

namespace sluice::dataplane::iptables {
namespace {

constexpr std::uint64_t kPlans = 15;
constexpr int kPackets = 60;

TEST(Route, PacketsThroughTheRulesGoWhereThePlanSays) {
  std::array<std::size_t, 5> fates{};
  for (const Family family : kFamilies) {
    for (const plan::MasqueradePolicy& policy : plan::test::random_policies(family)) {
      for (std::uint64_t seed = 1; seed <= kPlans; ++seed) {
        plan::test::RandomPlan random(seed, family, policy);
        EncodeSettings settings;
        settings.family = family;
        settings.detector = policy.detector;
        const Encoder encoder(settings);
        Tracer tracer;
        for (const plan::ServicePortPlanPtr& port : random.ports()) {
          tracer.add(encoder.encode_port(*port, Detail::kRules));
        }
        for (int i = 0; i < kPackets; ++i) {
          const Packet packet = random.packet();
          const plan::Routing routing = plan::route(packet, random.plan(), policy.detector);
          ++fates[static_cast<std::size_t>(routing.fate)];
          expect_routed(tracer, packet, routing);
          ASSERT_FALSE(HasFailure()) << to_string(family) << ", plan " << seed << ", " << packet.from.to_string()
                                     << " by '" << packet.interface << "' to " << join_host_port(packet.to, packet.port)
                                     << " " << to_string(packet.protocol) << ": " << routing.to_string();
        }
      }
    }
  }
  for (const std::size_t count : fates) EXPECT_GT(count, 50U) << "each fate must be met";
}

}  // namespace
}  // namespace sluice::dataplane::iptables
