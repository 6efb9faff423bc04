// SPDX-License-Identifier: Apache-2.0
#include "daemon/node_gate.h"

#include <gtest/gtest.h>

#include <thread>

namespace sluice::daemon {
namespace {

model::Update node_update(const std::string& name) {
  model::Update update;
  model::Node node;
  node.name = name;
  update.node = std::move(node);
  return update;
}

const auto kAnyNode = [](const model::Node&) { return true; };

model::Update service_update(const std::string& name) {
  model::Update update;
  model::Service service;
  service.key = {"shop", name};
  update.services.push_back(std::move(service));
  return update;
}

TEST(NodeGate, HandsOnKeptUpdatesInOrderAndThenTheRest) {
  NodeGate gate;
  gate.pass(service_update("first"));
  gate.pass(service_update("second"));
  std::vector<std::string> seen;
  gate.open([&seen](model::Update&& update) { seen.push_back(update.services.front().key.name); });
  gate.pass(service_update("third"));
  EXPECT_EQ(seen, (std::vector<std::string>{"first", "second", "third"}));
  gate.close();
  gate.pass(service_update("fourth"));
  EXPECT_EQ(seen.size(), 3U);
}

// A Node gets its podCIDRs and addresses after it was created; after a wait for them that is no change.
TEST(NodeGate, OfTheNodeOnlyTheStateThatWasWaitedForIsHandedOn) {
  NodeGate gate;
  model::Update first = service_update("web");
  first.node = node_update("bare").node;
  gate.pass(std::move(first));
  gate.pass(node_update("half"));
  gate.pass(node_update("complete"));
  std::vector<std::string> nodes;
  std::size_t services = 0;
  gate.open([&](model::Update&& update) {
    EXPECT_FALSE(update.empty());
    services += update.services.size();
    if (update.node) nodes.push_back(update.node->name);
  });
  EXPECT_EQ(nodes, std::vector<std::string>{"complete"});
  EXPECT_EQ(services, 1U);
}

TEST(NodeGate, WaitsForANodeThatIsEnough) {
  NodeGate gate;
  std::thread source([&gate] {
    gate.pass(node_update("bare"));
    model::Update update = node_update("complete");
    update.node->internal_ips.push_back(*IpAddress::parse("192.0.2.1"));
    gate.pass(std::move(update));
  });
  const auto node = gate.wait(
      {"an address", std::chrono::seconds(30), false, [](const model::Node& n) { return !n.internal_ips.empty(); }});
  source.join();
  ASSERT_TRUE(node);
  EXPECT_EQ(node->name, "complete");
}

TEST(NodeGate, CompleteListsEndTheWaitWhereNoNodeCanCome) {
  NodeGate gate;
  model::Update update;
  update.services_complete = update.slices_complete = true;
  gate.pass(std::move(update));
  EXPECT_FALSE(gate.wait({"a Node", std::chrono::seconds(30), true, kAnyNode}));
}

TEST(NodeGate, GivingUpEndsTheWait) {
  NodeGate gate;
  EXPECT_FALSE(gate.given_up());
  std::thread stopper([&gate] { gate.give_up(); });
  EXPECT_FALSE(gate.wait({"a Node", std::chrono::seconds(30), false, kAnyNode}));
  stopper.join();
  EXPECT_TRUE(gate.given_up());
}

TEST(NodeGate, ReportsWhatItWaitsFor) {
  NodeGate gate;
  EXPECT_FALSE(gate.waiting());
  std::thread waiter([&gate] { (void)gate.wait({"a Node", std::chrono::seconds(30), false, kAnyNode}); });
  while (!gate.waiting()) std::this_thread::yield();
  EXPECT_EQ(gate.waiting()->what, "a Node");
  gate.give_up();
  waiter.join();
  EXPECT_FALSE(gate.waiting());
}

}  // namespace
}  // namespace sluice::daemon
