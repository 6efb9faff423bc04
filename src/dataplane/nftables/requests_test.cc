// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/requests.h"

#include <gmock/gmock.h>

#include <map>

#include "dataplane/nftables/slots.h"
#include "dataplane/nftables/test_ports.h"

namespace sluice::dataplane::nftables {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

plan::ServicePortPlan requesting(const std::string& scheduler, const std::string& weights, unsigned endpoint_count = 3,
                                 std::optional<std::uint32_t> affinity = std::nullopt) {
  model::Service wanted = service(0);
  if (!scheduler.empty()) wanted.sluice_annotations.emplace("sluice.dev/scheduler", scheduler);
  if (!weights.empty()) wanted.sluice_annotations.emplace("sluice.dev/weight", weights);
  wanted.affinity_seconds = affinity;
  std::vector<std::string> addresses;
  for (unsigned i = 0; i < endpoint_count; ++i)
    addresses.push_back(fmt::format("10.{}.{}.{}", 1 + i / 50000, i / 200 % 250, i % 200 + 1));
  return *port_of(wanted, addresses);
}

TEST(UnmetRequests, NoneWhereNothingIsRequestedOrTheModeHasIt) {
  for (const char* scheduler : {"", "random", "rr", "wrr"})
    EXPECT_THAT(unmet_requests(requesting(scheduler, "10.1.0.1=3,*=1")), IsEmpty()) << scheduler;
  EXPECT_THAT(unmet_requests(requesting("", "10.1.0.1=0,*=1")), IsEmpty());
  EXPECT_THAT(unmet_requests(requesting("lc", "", 0)), ElementsAre(HasSubstr("\"lc\"")));
}

TEST(UnmetRequests, TurnsUnderSessionAffinity) {
  for (const char* scheduler : {"rr", "wrr"}) {
    EXPECT_THAT(unmet_requests(requesting(scheduler, "", 3, 600)),
                ElementsAre(testing::AllOf(HasSubstr("session affinity"), HasSubstr(scheduler))));
  }
  EXPECT_THAT(unmet_requests(requesting("random", "", 3, 600)), IsEmpty());
}

TEST(UnmetRequests, WeightsThatPlacesCannotExpress) {
  // One of 1,500 may get a 65,535th part of what the others get, but not less than one place.
  EXPECT_THAT(unmet_requests(requesting("wrr", "10.1.0.1=1,*=65535", 1500)),
              ElementsAre(testing::AllOf(HasSubstr("sluice.dev/weight"), HasSubstr("shop/svc-0000:p"))));
  EXPECT_THAT(unmet_requests(requesting("rr", "10.1.0.1=1,*=65535", 1500)), IsEmpty()) << "rr disregards weights";
  EXPECT_THAT(unmet_requests(requesting("", "10.1.0.1=1,*=3", 1500)), IsEmpty());
}

// Each sentence is an event on the Service, from every node.
TEST(UnmetRequests, StayTheSameWhileEndpointsComeAndGo) {
  const auto with = [](unsigned count) { return unmet_requests(requesting("", "10.1.0.1=1,*=65535", count)); };
  ASSERT_THAT(with(1500), testing::SizeIs(1));
  for (const unsigned count : {1400u, 1501u, 3000u}) EXPECT_EQ(with(count), with(1500)) << count;
}

TEST(RequestedSlots, TurnsWithoutWeightsGiveEachServerOne) {
  EXPECT_EQ(fresh_slots(requesting("rr", "10.1.0.1=0,10.1.0.2=7,*=1"), plan::Pool::kCluster).size(), 2u);
  EXPECT_EQ(fresh_slots(requesting("wrr", "10.1.0.1=0,10.1.0.2=7,*=1"), plan::Pool::kCluster).size(), 8u);
}

// More real servers than weighted places: weights count all the same.
TEST(RequestedSlots, WeightsCountAmongManyServers) {
  const auto port = requesting("", "10.1.0.1=2,*=1", 3000);
  std::map<plan::AddressPort, std::size_t> places;
  for (const plan::AddressPort& each : fresh_slots(port, plan::Pool::kCluster)) ++places[each];
  EXPECT_EQ(places.at({ip("10.1.0.1"), 8080}), 2u);
  EXPECT_EQ(places.at({ip("10.1.0.2"), 8080}), 1u);
}

// However many and however heavy, they can be numbered.
TEST(RequestedSlots, NeverExceedTheNumbers) {
  for (const unsigned count : {1000u, 13'200u, 30'000u, 65'000u, 65'535u}) {
    const auto port = requesting("", "10.1.0.1=2,*=65535", count);
    EXPECT_LE(fresh_slots(port, plan::Pool::kCluster).size(), kSlotsMax) << count;
  }
}

}  // namespace
}  // namespace sluice::dataplane::nftables
