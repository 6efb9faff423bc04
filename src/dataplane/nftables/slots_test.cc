// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/slots.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <random>

#include "base/ip_literals.h"

namespace sluice::dataplane::nftables {
namespace {

using plan::AddressPort;
using testing::ElementsAre;

AddressPort server(unsigned number) {
  return {IpAddress::from_v4(0x0a010000 + number), 8080};
}

plan::ServicePortPlan port_of(const std::vector<std::uint16_t>& weights) {
  plan::ServicePortPlan port;
  for (unsigned i = 0; i < weights.size(); ++i) {
    plan::RealServer each;
    each.address = server(i).address;
    each.port = 8080;
    each.in_cluster_pool = true;
    each.in_local_pool = i % 2 == 0;
    each.weight = weights[i];
    port.real_servers.push_back(each);
  }
  return port;
}

std::map<AddressPort, std::size_t> counts(const Slots& slots) {
  std::map<AddressPort, std::size_t> result;
  for (const AddressPort& each : slots) ++result[each];
  return result;
}

std::size_t differences(const Slots& before, const Slots& after) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < std::max(before.size(), after.size()); ++i)
    count += i >= before.size() || i >= after.size() || before[i] != after[i] ? 1 : 0;
  return count;
}

TEST(FreshSlots, EachServerOfThePoolHasOneWhereWeightsAreEqual) {
  EXPECT_THAT(fresh_slots(port_of({1, 1, 1}), plan::Pool::kCluster), ElementsAre(server(0), server(1), server(2)));
  EXPECT_THAT(fresh_slots(port_of({50, 50, 50}), plan::Pool::kLocal), ElementsAre(server(0), server(2)));
}

TEST(FreshSlots, WeightsAreSharesAndNoneIsNone) {
  EXPECT_THAT(fresh_slots(port_of({20, 0, 10}), plan::Pool::kCluster), ElementsAre(server(0), server(0), server(2)));
  EXPECT_THAT(fresh_slots(port_of({0, 0}), plan::Pool::kCluster), ElementsAre());
}

TEST(FreshSlots, GreatWeightsKeepTheirProportionInABoundedNumber) {
  const Slots slots = fresh_slots(port_of({65535, 32768, 1}), plan::Pool::kCluster);
  EXPECT_LE(slots.size(), kWeightedSlotsMax + 3);
  const auto shares = counts(slots);
  EXPECT_NEAR(static_cast<double>(shares.at(server(0))) / static_cast<double>(shares.at(server(1))), 2.0, 0.02);
  EXPECT_EQ(shares.at(server(2)), 1u) << "little is not nothing";
}

TEST(Rearranged, OneThatGoesLeavesItsSlotToTheLast) {
  const Slots wanted{server(0), server(2), server(3)};
  EXPECT_THAT(rearranged({server(0), server(1), server(2), server(3)}, wanted),
              ElementsAre(server(0), server(3), server(2)));
}

TEST(Rearranged, OneThatComesIsLastAndAReplacementIsOneSlot) {
  EXPECT_THAT(rearranged({server(5), server(3)}, {server(3), server(4), server(5)}),
              ElementsAre(server(5), server(3), server(4)));
  EXPECT_THAT(rearranged({server(5), server(3)}, {server(4), server(5)}), ElementsAre(server(5), server(4)));
}

TEST(Rearranged, EmptySlotsAreFilled) {
  EXPECT_THAT(rearranged({std::nullopt, server(1), std::nullopt}, {server(0), server(1)}),
              ElementsAre(server(0), server(1)));
  EXPECT_THAT(rearranged({std::nullopt, std::nullopt, server(1)}, {server(1)}), ElementsAre(server(1)));
  EXPECT_THAT(rearranged({std::nullopt, std::nullopt}, {}), ElementsAre());
}

TEST(Rearranged, HoldsWhatIsWantedAndChangesLittle) {
  std::mt19937 random(1);
  const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
  for (int round = 0; round < 2000; ++round) {
    Slots before;
    for (unsigned i = below(20); i > 0; --i) before.push_back(server(below(8)));
    Slots wanted = before;
    std::size_t changes = 0;
    for (unsigned i = below(3); i > 0; --i, ++changes) {
      if (!wanted.empty() && below(2) == 0) {
        wanted.erase(wanted.begin() + below(static_cast<unsigned>(wanted.size())));
      } else {
        wanted.push_back(server(below(8)));
      }
    }
    std::shuffle(wanted.begin(), wanted.end(), random);
    const Slots after = rearranged({before.begin(), before.end()}, wanted);
    ASSERT_EQ(counts(after), counts(wanted));
    ASSERT_LE(differences(before, after), 2 * changes);
  }
}

}  // namespace
}  // namespace sluice::dataplane::nftables
