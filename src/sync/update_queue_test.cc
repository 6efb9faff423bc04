// SPDX-License-Identifier: Apache-2.0
#include "sync/update_queue.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "plan/test_objects.h"

namespace sluice::sync {
namespace {

using model::Update;
using plan::test::make_service;
using plan::test::make_slice;
using plan::test::service_port;

Update set_service(const std::string& name, std::uint16_t port) {
  Update update;
  update.services.push_back(make_service(name, {service_port("p", port)}));
  return update;
}

Update remove_service(const std::string& name) {
  Update update;
  update.services_removed.push_back({"shop", name});
  return update;
}

std::vector<Update> list(Update first, Update second) {
  std::vector<Update> updates;
  updates.push_back(std::move(first));
  updates.push_back(std::move(second));
  return updates;
}

TEST(MergeUpdates, TheNewestVersionStays) {
  const Update merged = merge_updates(list(set_service("web", 1), set_service("web", 2)));
  ASSERT_EQ(merged.services.size(), 1u);
  EXPECT_EQ(merged.services[0].ports[0].port, 2);
  EXPECT_TRUE(merged.services_removed.empty());
}

TEST(MergeUpdates, WhatWasAddedAndRemovedIsOnlyAmongTheRemoved) {
  const Update merged = merge_updates(list(set_service("web", 1), remove_service("web")));
  EXPECT_TRUE(merged.services.empty());
  EXPECT_EQ(merged.services_removed.size(), 1u);
}

TEST(MergeUpdates, WhatWasRemovedAndAddedAgainIsOnBothSides) {
  const Update merged = merge_updates(list(remove_service("web"), set_service("web", 1)));
  EXPECT_EQ(merged.services.size(), 1u);
  EXPECT_EQ(merged.services_removed.size(), 1u);
}

TEST(MergeUpdates, CompletenessAndTheNodeStay) {
  Update first;
  first.services_complete = true;
  first.node = model::Node();
  Update second;
  second.slices_complete = true;
  Update merged = merge_updates(list(std::move(first), std::move(second)));
  EXPECT_TRUE(merged.services_complete);
  EXPECT_TRUE(merged.slices_complete);
  ASSERT_TRUE(merged.node);
  Update third;
  third.node_removed = true;
  merged = merge_updates(list(std::move(merged), std::move(third)));
  EXPECT_FALSE(merged.node);
  EXPECT_TRUE(merged.node_removed);
}

TEST(UpdateQueue, BelowItsLimitItKeepsEveryUpdate) {
  UpdateQueue queue(10);
  queue.push(set_service("web", 1));
  queue.push(set_service("web", 2));
  EXPECT_EQ(queue.take().size(), 2u);
  EXPECT_TRUE(queue.empty());
}

TEST(UpdateQueue, AThousandVersionsOfOneObjectTakeTheSpaceOfOne) {
  UpdateQueue queue(10);
  for (int i = 0; i < 1000; ++i) {
    queue.push(set_service("web", static_cast<std::uint16_t>(i)));
    ASSERT_LE(queue.objects_waiting(), 10u);
  }
  std::uint16_t last = 0;
  for (const Update& update : queue.take()) last = update.services.back().ports[0].port;
  EXPECT_EQ(last, 999);
}

TEST(UpdateQueue, ManyDifferentObjectsAllStay) {
  UpdateQueue queue(10);
  for (int i = 0; i < 1000; ++i) queue.push(set_service(fmt::format("s{}", i), 80));
  std::size_t services = 0;
  for (const Update& update : queue.take()) services += update.services.size();
  EXPECT_EQ(services, 1000u);
}

// Whenever Updates are merged, the resulting Snapshot is the same.
TEST(UpdateQueue, MergingChangesNothingInTheEnd) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937 random(seed);
  model::Snapshot direct;
  model::Snapshot queued;
  UpdateQueue queue(5);
  for (int i = 0; i < 2000; ++i) {
    const std::string name = fmt::format("s{}", random() % 6);
    const auto port = static_cast<std::uint16_t>(random() % 1000);
    Update update = random() % 3 == 0 ? remove_service(name) : set_service(name, port);
    if (random() % 2 == 0)
      update.slices.push_back(make_slice("slice-" + name, name, {plan::test::slice_port("p", port)}, {"10.1.0.1"}));
    if (random() % 5 == 0) update.slices_removed.push_back({"shop", fmt::format("slice-s{}", random() % 6)});
    direct.apply(Update(update));
    queue.push(std::move(update));
    if (random() % 50 == 0) {
      for (Update& each : queue.take()) queued.apply(std::move(each));
    }
  }
  for (Update& each : queue.take()) queued.apply(std::move(each));
  ASSERT_EQ(direct.service_keys(), queued.service_keys());
  for (const model::ObjectKey& key : direct.service_keys()) {
    EXPECT_EQ(*direct.service(key), *queued.service(key));
    const auto wanted = direct.slices_of(key);
    const auto slices = queued.slices_of(key);
    ASSERT_EQ(wanted.size(), slices.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(*wanted[i], *slices[i]);
  }
}

}  // namespace
}  // namespace sluice::sync
