// SPDX-License-Identifier: Apache-2.0
// What one change touches in a large cluster: the objects of all other Services stay the same ones.
#include <gtest/gtest.h>

#include "plan/planner.h"
#include "plan/test_objects.h"

namespace sluice::plan {
namespace {

using namespace test;

constexpr std::size_t kServices = 10'000;
constexpr std::size_t kEndpointsEach = 10;

model::EndpointSlice numbered_slice(std::size_t index, bool one_more = false) {
  model::EndpointSlice slice;
  slice.service_name = "s" + std::to_string(index);
  slice.key = {"load", slice.service_name + "-x"};
  slice.ports = {slice_port("p", 8080)};
  for (std::size_t i = 0; i < kEndpointsEach + (one_more ? 1 : 0); ++i) {
    model::Endpoint endpoint;
    endpoint.address = IpAddress::from_v4(static_cast<std::uint32_t>(0x0a800000U + index * 16 + i));
    slice.endpoints.push_back(endpoint);
  }
  return slice;
}

model::Update large_cluster() {
  model::Update update;
  for (std::size_t i = 0; i < kServices; ++i) {
    model::Service service = make_service("", {service_port("p", 80)}, {});
    service.key = {"load", "s" + std::to_string(i)};
    service.cluster_ips = {IpAddress::from_v4(static_cast<std::uint32_t>(0x0a600000U + 256 + i))};
    update.services.push_back(std::move(service));
    update.slices.push_back(numbered_slice(i));
  }
  return update;
}

std::map<ObjectKey, ServicePortPlanPtr> objects(const Plan& plan) {
  std::map<ObjectKey, ServicePortPlanPtr> result;
  for (const auto& [key, service] : plan.services) result[key] = service.ports.at(0);
  return result;
}

std::vector<ObjectKey> replaced(const std::map<ObjectKey, ServicePortPlanPtr>& before, const Plan& plan) {
  std::vector<ObjectKey> keys;
  for (const auto& [key, port] : before) {
    const auto found = plan.services.find(key);
    if (found == plan.services.end() || found->second.ports.at(0) != port) keys.push_back(key);
  }
  return keys;
}

class PlannerAtScale : public testing::Test {
 protected:
  void SetUp() override {
    const auto touched = snapshot_.apply(large_cluster());
    ASSERT_EQ(touched.services.size(), kServices);
    ASSERT_EQ(planner_.update(snapshot_, touched.services).size(), kServices);
    before_ = objects(planner_.plan());
  }
  model::Snapshot snapshot_;
  Planner planner_{kSettings};
  std::map<ObjectKey, ServicePortPlanPtr> before_;
};

TEST_F(PlannerAtScale, OneSliceChangesOneServiceAndLeavesAllOtherObjectsAlone) {
  model::Update update;
  update.slices = {numbered_slice(4711, true)};
  const auto touched = snapshot_.apply(std::move(update));
  EXPECT_EQ(touched.services, std::set<ObjectKey>({{"load", "s4711"}}));
  const auto changes = planner_.update(snapshot_, touched.services);
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].before, before_.at({"load", "s4711"}));
  EXPECT_EQ(changes[0].after->real_servers.size(), kEndpointsEach + 1);
  EXPECT_EQ(replaced(before_, planner_.plan()), std::vector<ObjectKey>({{"load", "s4711"}}));
}

TEST_F(PlannerAtScale, OnlyServicesThatTheUpdateNamesAreRead) {
  // The Snapshot of every Service but one is altered without an Update: the Planner would notice if it read them.
  model::Update all;
  for (std::size_t i = 0; i < kServices; ++i) all.slices.push_back(numbered_slice(i, true));
  snapshot_.apply(std::move(all));
  const auto changes = planner_.update(snapshot_, {{"load", "s17"}});
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(replaced(before_, planner_.plan()), std::vector<ObjectKey>({{"load", "s17"}}));
}

TEST_F(PlannerAtScale, EqualPlansKeepTheirObjectsWhenEverythingIsPlannedAgain) {
  EXPECT_TRUE(planner_.replan_all(snapshot_, {}).empty());
  EXPECT_TRUE(replaced(before_, planner_.plan()).empty());
}

TEST_F(PlannerAtScale, HoldsNoMoreThanItNeeds) {
  static_assert(sizeof(RealServer) <= 24, "100,000 of these are held");
  for (const auto& [key, port] : before_) {
    ASSERT_EQ(port->real_servers.capacity(), port->real_servers.size()) << key.to_string();
    ASSERT_EQ(port->serving.capacity(), 0U) << key.to_string();
  }
  for (const model::EndpointSlice* slice : snapshot_.slices_of({"load", "s1"}))
    EXPECT_EQ(slice->endpoints.capacity(), slice->endpoints.size());
}

}  // namespace
}  // namespace sluice::plan
