// SPDX-License-Identifier: Apache-2.0
#include "model/snapshot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace sluice::model {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

ObjectKey shop(std::string name) {
  return {"shop", std::move(name)};
}

Service make_service(std::string name, std::uint16_t port = 80) {
  Service service;
  service.key = shop(std::move(name));
  service.cluster_ips = {IpAddress::from_v4(0x0a600001)};
  service.ports = {{"p", Protocol::kTcp, port, 0}};
  return service;
}

Endpoint make_endpoint(std::uint32_t address) {
  Endpoint endpoint;
  endpoint.address = IpAddress::from_v4(address);
  return endpoint;
}

EndpointSlice make_slice(std::string name, std::string service, std::int64_t trigger_ns = 0) {
  EndpointSlice slice;
  slice.key = shop(std::move(name));
  slice.service_name = std::move(service);
  slice.ports = {{"p", Protocol::kTcp, 8080}, {"q", Protocol::kUdp, 53}};
  slice.endpoints = {make_endpoint(0x0a010001), make_endpoint(0x0a010002)};
  slice.last_change_trigger_ns = trigger_ns;
  return slice;
}

Update with_service(Service service) {
  Update update;
  update.services.push_back(std::move(service));
  return update;
}

Update with_slice(EndpointSlice slice) {
  Update update;
  update.slices.push_back(std::move(slice));
  return update;
}

Update without_slice(const std::string& name) {
  Update update;
  update.slices_removed.push_back(shop(name));
  return update;
}

std::vector<std::string> slice_names(const Snapshot& snapshot, const std::string& service) {
  std::vector<std::string> names;
  for (const EndpointSlice* slice : snapshot.slices_of(shop(service))) names.push_back(slice->key.name);
  return names;
}

TEST(SnapshotServices, AreSetReplacedAndRemoved) {
  Snapshot snapshot;
  EXPECT_THAT(snapshot.apply(with_service(make_service("web"))).services, ElementsAre(shop("web")));
  EXPECT_THAT(snapshot.apply(with_service(make_service("web"))).services, IsEmpty())
      << "the same object again is no change";
  EXPECT_THAT(snapshot.apply(with_service(make_service("web", 81))).services, ElementsAre(shop("web")));
  ASSERT_NE(snapshot.service(shop("web")), nullptr);
  EXPECT_EQ(snapshot.service(shop("web"))->ports[0].port, 81);
  EXPECT_EQ(snapshot.service({"other", "web"}), nullptr) << "the namespace is part of the key";
  Update removal;
  removal.services_removed = {shop("web"), shop("never-seen")};
  EXPECT_THAT(snapshot.apply(std::move(removal)).services, ElementsAre(shop("web")))
      << "removing an unknown one is no change";
  EXPECT_EQ(snapshot.service(shop("web")), nullptr);
  EXPECT_EQ(snapshot.services_count(), 0U);
}

TEST(SnapshotServices, AreListedInOrder) {
  Snapshot snapshot;
  for (const char* name : {"web", "api", "dns"}) snapshot.apply(with_service(make_service(name)));
  EXPECT_THAT(snapshot.service_keys(), ElementsAre(shop("api"), shop("dns"), shop("web")));
}

TEST(SnapshotServices, MayBeRemovedAndSetInOneUpdate) {
  Snapshot snapshot;
  snapshot.apply(with_service(make_service("web")));
  Update recreated = with_service(make_service("web", 90));
  recreated.services_removed = {shop("web")};
  EXPECT_THAT(snapshot.apply(std::move(recreated)).services, ElementsAre(shop("web")));
  ASSERT_NE(snapshot.service(shop("web")), nullptr);
  EXPECT_EQ(snapshot.service(shop("web"))->ports[0].port, 90);
}

TEST(SnapshotSlices, TouchTheirServiceKnownOrNot) {
  Snapshot snapshot;
  const Touched touched = snapshot.apply(with_slice(make_slice("web-1", "web")));
  EXPECT_THAT(touched.services, ElementsAre(shop("web"))) << "the slice may come before its Service";
  EXPECT_THAT(touched.services_by_slice, ElementsAre(shop("web")));
  const Touched service_touched = snapshot.apply(with_service(make_service("web")));
  EXPECT_THAT(service_touched.services, ElementsAre(shop("web")));
  EXPECT_THAT(service_touched.services_by_slice, IsEmpty());
  EXPECT_THAT(slice_names(snapshot, "web"), ElementsAre("web-1"));
}

TEST(SnapshotSlices, ChangeWhenAnythingInThemDiffers) {
  struct Row {
    const char* name;
    std::function<void(EndpointSlice&)> edit;
    bool changed;
  };
  const Row rows[] = {
      {"identical", [](auto&) {}, false},
      {"an endpoint's condition", [](auto& s) { s.endpoints[0].ready = false; }, true},
      {"an endpoint's hints", [](auto& s) { s.endpoints[0].zone_hints = {"a"}; }, true},
      {"an endpoint's node", [](auto& s) { s.endpoints[0].node_name = "self"; }, true},
      {"another endpoint", [](auto& s) { s.endpoints[1] = make_endpoint(0x0a010003); }, true},
      {"one endpoint less", [](auto& s) { s.endpoints.pop_back(); }, true},
      {"order of the endpoints", [](auto& s) { std::swap(s.endpoints[0], s.endpoints[1]); }, true},
      {"a port's number", [](auto& s) { s.ports[0].port = 8081; }, true},
      {"a port's name", [](auto& s) { s.ports[0].name = "r"; }, true},
      {"order of the ports", [](auto& s) { std::swap(s.ports[0], s.ports[1]); }, true},
      {"the trigger time alone", [](auto& s) { s.last_change_trigger_ns = 7; }, true},
  };
  for (const Row& row : rows) {
    Snapshot snapshot;
    snapshot.apply(with_slice(make_slice("web-1", "web")));
    EndpointSlice edited = make_slice("web-1", "web");
    row.edit(edited);
    const Touched touched = snapshot.apply(with_slice(edited));
    EXPECT_EQ(touched.services.contains(shop("web")), row.changed) << row.name;
    EXPECT_EQ(touched.services_by_slice.contains(shop("web")), row.changed) << row.name;
    EXPECT_EQ(*snapshot.slices_of(shop("web")).at(0), edited) << row.name;
  }
}

TEST(SnapshotSlices, AreListedByServiceInOrderOfTheirNames) {
  Snapshot snapshot;
  for (const char* name : {"c", "a", "b"}) snapshot.apply(with_slice(make_slice(name, "web")));
  snapshot.apply(with_slice(make_slice("d", "api")));
  EndpointSlice elsewhere = make_slice("a", "web");
  elsewhere.key.namespace_name = "other";
  snapshot.apply(with_slice(elsewhere));
  EXPECT_THAT(slice_names(snapshot, "web"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(slice_names(snapshot, "api"), ElementsAre("d"));
  EXPECT_EQ(snapshot.slices_of({"other", "web"}).size(), 1U) << "a slice belongs to the Service of its own namespace";
  EXPECT_EQ(snapshot.slices_count(), 5U);
}

TEST(SnapshotSlices, MoveBetweenServicesWithTheirLabel) {
  Snapshot snapshot;
  snapshot.apply(with_slice(make_slice("s", "web")));
  const Touched touched = snapshot.apply(with_slice(make_slice("s", "api", 9)));
  EXPECT_THAT(touched.services, ElementsAre(shop("api"), shop("web")));
  EXPECT_THAT(touched.services_by_slice, ElementsAre(shop("api"), shop("web")));
  EXPECT_THAT(touched.trigger_times, UnorderedElementsAre(Pair(shop("api"), ElementsAre(9))));
  EXPECT_THAT(slice_names(snapshot, "web"), IsEmpty());
  EXPECT_THAT(slice_names(snapshot, "api"), ElementsAre("s"));
}

TEST(SnapshotSlices, BelongToNoServiceWithoutTheLabel) {
  Snapshot snapshot;
  EXPECT_THAT(snapshot.apply(with_slice(make_slice("s", ""))).services, IsEmpty());
  EXPECT_THAT(snapshot.slices_of(shop("")), IsEmpty());
  EXPECT_THAT(snapshot.apply(with_slice(make_slice("s", "web"))).services, ElementsAre(shop("web")))
      << "labelled later";
  EXPECT_THAT(snapshot.apply(with_slice(make_slice("s", ""))).services, ElementsAre(shop("web"))) << "the label went";
  EXPECT_THAT(slice_names(snapshot, "web"), IsEmpty());
  EXPECT_THAT(snapshot.apply(without_slice("s")).services, IsEmpty());
}

TEST(SnapshotSlices, LeaveNothingBehindWhenRemoved) {
  Snapshot snapshot;
  for (const char* name : {"a", "b"}) snapshot.apply(with_slice(make_slice(name, "web")));
  EXPECT_THAT(snapshot.apply(without_slice("a")).services_by_slice, ElementsAre(shop("web")));
  EXPECT_THAT(slice_names(snapshot, "web"), ElementsAre("b"));
  EXPECT_THAT(snapshot.apply(without_slice("a")).services, IsEmpty()) << "an unknown slice is no change";
  snapshot.apply(without_slice("b"));
  EXPECT_THAT(slice_names(snapshot, "web"), IsEmpty());
  EXPECT_EQ(snapshot.slices_count(), 0U);
}

TEST(SnapshotSlices, OutliveTheirService) {
  Snapshot snapshot;
  snapshot.apply(with_service(make_service("web")));
  snapshot.apply(with_slice(make_slice("web-1", "web")));
  Update removal;
  removal.services_removed = {shop("web")};
  EXPECT_THAT(snapshot.apply(std::move(removal)).services, ElementsAre(shop("web")));
  EXPECT_THAT(slice_names(snapshot, "web"), ElementsAre("web-1"));
}

TEST(TriggerTimes, AreCollectedByService) {
  Snapshot snapshot;
  Update update = with_slice(make_slice("web-1", "web", 10));
  update.slices.push_back(make_slice("web-2", "web", 20));
  update.slices.push_back(make_slice("web-3", "web"));
  update.slices.push_back(make_slice("api-1", "api", 30));
  Touched touched = snapshot.apply(std::move(update));
  EXPECT_THAT(touched.trigger_times,
              UnorderedElementsAre(Pair(shop("web"), ElementsAre(10, 20)), Pair(shop("api"), ElementsAre(30))));
  touched = snapshot.apply(with_slice(make_slice("web-1", "web", 10)));
  EXPECT_THAT(touched.trigger_times, IsEmpty()) << "no change, nothing to measure";
}

TEST(TriggerTimes, AreDroppedWhenASliceGoes) {
  Snapshot snapshot;
  Touched pending = snapshot.apply(with_slice(make_slice("web-1", "web", 10)));
  pending.merge(snapshot.apply(with_slice(make_slice("api-1", "api", 11))));
  const Touched removal = snapshot.apply(without_slice("web-1"));
  EXPECT_THAT(removal.trigger_times, IsEmpty());
  Touched later = removal;
  later.merge(snapshot.apply(with_slice(make_slice("web-2", "web", 20))));
  EXPECT_THAT(later.trigger_times, UnorderedElementsAre(Pair(shop("web"), ElementsAre(20))));
  pending.merge(std::move(later));
  EXPECT_THAT(pending.trigger_times,
              UnorderedElementsAre(Pair(shop("web"), ElementsAre(20)), Pair(shop("api"), ElementsAre(11))))
      << "only what came before the removal is void";
}

TEST(TriggerTimes, StayWhenTheSliceIsWrittenAgain) {
  Snapshot snapshot;
  Touched pending = snapshot.apply(with_slice(make_slice("web-1", "web", 10)));
  const Touched again = snapshot.apply(with_slice(make_slice("web-1", "web", 20)));
  EXPECT_THAT(again.trigger_times_void, IsEmpty());
  pending.merge(Touched(again));
  EXPECT_THAT(pending.trigger_times, UnorderedElementsAre(Pair(shop("web"), ElementsAre(10, 20))));
}

TEST(TriggerTimes, AreDroppedWhenASliceMovesAwayInTheSameUpdate) {
  Snapshot snapshot;
  snapshot.apply(with_slice(make_slice("moving", "web")));
  Update update = with_slice(make_slice("web-1", "web", 10));
  update.slices.push_back(make_slice("moving", "api", 11));
  update.slices.push_back(make_slice("web-2", "web", 12));
  EXPECT_THAT(snapshot.apply(std::move(update)).trigger_times,
              UnorderedElementsAre(Pair(shop("web"), ElementsAre(12)), Pair(shop("api"), ElementsAre(11))));
}

TEST(Touched, MergesEverything) {
  Touched first;
  first.services = {shop("a"), shop("b")};
  first.services_by_slice = {shop("a")};
  first.trigger_times = {{shop("a"), {1}}};
  first.service_events = 1;
  first.slice_events = 2;
  Touched second;
  second.services = {shop("b"), shop("c")};
  second.services_by_slice = {shop("c")};
  second.trigger_times = {{shop("a"), {2, 3}}, {shop("c"), {4}}};
  second.trigger_times_void = {shop("d")};
  second.node = true;
  second.service_events = 10;
  second.slice_events = 20;
  first.merge(std::move(second));
  EXPECT_THAT(first.services, ElementsAre(shop("a"), shop("b"), shop("c")));
  EXPECT_THAT(first.services_by_slice, ElementsAre(shop("a"), shop("c")));
  EXPECT_THAT(first.trigger_times,
              UnorderedElementsAre(Pair(shop("a"), ElementsAre(1, 2, 3)), Pair(shop("c"), ElementsAre(4))));
  EXPECT_THAT(first.trigger_times_void, ElementsAre(shop("d")));
  EXPECT_TRUE(first.node);
  EXPECT_EQ(first.service_events, 11U);
  EXPECT_EQ(first.slice_events, 22U);
  first.merge(Touched{});
  EXPECT_TRUE(first.node) << "an empty one removes nothing";
}

TEST(Snapshot, CountsEventsThatChangedNothing) {
  Snapshot snapshot;
  for (int round = 0; round < 2; ++round) {
    Update update = with_service(make_service("web"));
    update.slices.push_back(make_slice("web-1", "web"));
    update.slices_removed = {shop("x"), shop("y")};
    update.services_removed = {shop("x")};
    const Touched touched = snapshot.apply(std::move(update));
    EXPECT_EQ(touched.service_events, 2U) << "round " << round;
    EXPECT_EQ(touched.slice_events, 3U) << "round " << round;
  }
}

TEST(Snapshot, KeepsTheLatestNode) {
  Snapshot snapshot;
  Node node;
  node.name = "self";
  Update update;
  update.node = node;
  EXPECT_TRUE(snapshot.apply(std::move(update)).node);
  update = {};
  update.node = node;
  EXPECT_FALSE(snapshot.apply(std::move(update)).node) << "the same Node again";
  node.labels[std::string(kZoneLabel)] = "a";
  update = {};
  update.node = node;
  EXPECT_TRUE(snapshot.apply(std::move(update)).node);
  EXPECT_EQ(snapshot.node(), node);
  update = {};
  update.node_removed = true;
  EXPECT_TRUE(snapshot.apply(std::move(update)).node);
  EXPECT_FALSE(snapshot.node().has_value());
  update = {};
  update.node_removed = true;
  EXPECT_FALSE(snapshot.apply(std::move(update)).node) << "it is gone already";
}

TEST(Snapshot, IsCompleteOnceBothListsWereDelivered) {
  Snapshot snapshot;
  Update slices;
  slices.slices_complete = true;
  snapshot.apply(std::move(slices));
  EXPECT_FALSE(snapshot.complete());
  Update services;
  services.services_complete = true;
  EXPECT_THAT(snapshot.apply(std::move(services)).services, IsEmpty());
  EXPECT_TRUE(snapshot.complete());
  snapshot.apply(with_service(make_service("web")));
  EXPECT_TRUE(snapshot.complete()) << "an Update without the flag does not reset it";
}

TEST(Update, IsEmptyOnlyWithoutAnything) {
  EXPECT_TRUE(Update{}.empty());
  const std::function<void(Update&)> edits[] = {
      [](Update& u) { u.services.emplace_back(); },  [](Update& u) { u.services_removed.emplace_back(); },
      [](Update& u) { u.slices.emplace_back(); },    [](Update& u) { u.slices_removed.emplace_back(); },
      [](Update& u) { u.node.emplace(); },           [](Update& u) { u.node_removed = true; },
      [](Update& u) { u.services_complete = true; }, [](Update& u) { u.slices_complete = true; },
  };
  for (std::size_t i = 0; i < std::size(edits); ++i) {
    Update update;
    edits[i](update);
    EXPECT_FALSE(update.empty()) << "edit " << i;
  }
}

}  // namespace
}  // namespace sluice::model
