// SPDX-License-Identifier: Apache-2.0
// What a process does that stays: it follows the node's devices, and makes the tables larger.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ipvs/ebpf/hooks.h"
#include "ipvs/ebpf/own_device.h"
#include "ipvs/ebpf/test_traffic.h"
#include "sys/bpf_place.h"

namespace sluice::ipvs::ebpf {
namespace {

using testing::HasSubstr;

class Tend : public Traffic {
 protected:
  void SetUp() override {
    Traffic::SetUp();
    serve(kKey, "rr", {masqueraded("10.2.0.1", 5353)});
  }
  void tend() {
    const auto again = engine_->tend();
    ASSERT_TRUE(again) << again.error().what;
    EXPECT_TRUE(again->has_value());
  }
  static std::uint32_t program_on(const std::string& device) {
    const auto devices = sys::list_devices();
    EXPECT_TRUE(devices);
    for (const sys::Device& each : *devices) {
      if (each.name == device)
        return *sys::bpf_program_at({each.index, sys::BpfHook::kIngress, kFilterHandle, kFilterPriority});
    }
    ADD_FAILURE() << "no " << device;
    return 0;
  }
  static Tables tables() {
    auto found = Tables::find();
    EXPECT_TRUE(found && *found);
    return *std::move(*found);
  }
  void replace_rules(const std::vector<IpAddress>& addresses) {
    RuleElements elements;
    elements.addresses = addresses;
    const auto written = engine_->service_rules()->replace({.family = Family::kIPv4}, elements);
    ASSERT_TRUE(written) << written.error().what;
  }

  const VirtualServerKey kKey = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
};

TEST_F(Tend, GivesNewDevicesTheirPrograms) {
  replace_rules({});
  tend();
  run({"ip", "link", "add", "new0", "type", "bridge"});
  EXPECT_EQ(program_on("new0"), 0U);
  EXPECT_TRUE(*engine_->service_rules()->intact({.family = Family::kIPv4})) << "a device that comes is no damage";
  tend();
  EXPECT_NE(program_on("new0"), 0U);
  EXPECT_EQ(program_on("new0"), program_on("client"));
  // Another one of that name.
  run({"ip", "link", "del", "new0"});
  run({"ip", "link", "add", "new0", "type", "bridge"});
  tend();
  EXPECT_EQ(program_on("new0"), program_on("client"));
}

TEST_F(Tend, KeepsTheDeviceAndItsRoutes) {
  tend();
  replace_rules({kKey.address});
  EXPECT_NE(tables().settings().own_device, 0U);
  run({"ip", "link", "add", "tunnel0", "mtu", "1400", "type", "bridge"});
  run({"ip", "link", "set", "tunnel0", "up"});
  tend();
  EXPECT_THAT(run({"ip", "link", "show", "dev", "sluice0"}), HasSubstr("mtu 1400"));
  const std::uint32_t before = tables().settings().own_device;
  run({"ip", "link", "del", "sluice0"});
  tend();
  EXPECT_THAT(run({"ip", "route", "get", "10.0.0.1"}), HasSubstr("dev sluice0"));
  EXPECT_NE(tables().settings().own_device, before);
  EXPECT_NE(program_on("sluice0"), 0U);
  const UniqueFd server = receiver({ip("10.2.0.1"), 5353});
  const UniqueFd own = bound_socket(SOCK_DGRAM, {ip("0.0.0.0"), 0});
  send_to(own, "by the new one", {kKey.address, kKey.port});
  EXPECT_EQ(receive(server).text, "by the new one");
}

TEST_F(Tend, ADeviceThatWasSetDownAndUpGetsItsRoutesBack) {
  replace_rules({kKey.address});
  run({"ip", "link", "set", "sluice0", "down"});
  run({"ip", "link", "set", "sluice0", "up"});
  EXPECT_TRUE(OwnDevice::addresses(Family::kIPv4)->empty());
  tend();
  EXPECT_EQ(OwnDevice::addresses(Family::kIPv4)->size(), 1U);
}

TEST_F(Tend, TheConnectionTableIsLargerBeforeItIsFull) {
  const Tables before = tables();
  const std::uint32_t end = before.pool().end;
  tend();
  EXPECT_EQ(before.pool().end, end) << "it is nearly empty";
  before.pool().fresh = end / 2;  // as if so many were used
  tend();
  EXPECT_EQ(before.pool().end, 2 * end);
  before.pool().fresh = before.settings().connections_max - 10;
  tend();
  EXPECT_EQ(before.pool().end, before.settings().connections_max) << "and no more";
  const UniqueFd server = receiver({ip("10.2.0.1"), 5353});
  UniqueFd client;
  net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), 4001}); });
  send_to(client, "in the last chunk", {kKey.address, kKey.port});
  EXPECT_EQ(receive(server).text, "in the last chunk");
}

TEST_F(Tend, TablesThatSomebodyTookAwayAreNotUsedAnyMore) {
  const VirtualServerKey other = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.2"), 53);
  auto second = EbpfEngine::open();
  ASSERT_TRUE(second);
  ASSERT_TRUE((*second)->find(kKey));
  ASSERT_TRUE(sys::remove_netns_pins());
  for (Engine* engine : {engine_.get(), second->get()}) {
    const auto state = engine->find(kKey);
    ASSERT_FALSE(state);
    EXPECT_EQ(state.error().sys_errno, ESRCH);
    EXPECT_TRUE(engine->tend());
  }
  serve(other, "rr", {});
  EXPECT_TRUE((*second)->find(other));
  EXPECT_FALSE((*second)->find(kKey));
  EXPECT_NE(program_on("client"), 0U);
}

// Both families' planes have an engine: each sees at once what the other has changed, and neither writes over it.
TEST_F(Tend, EnginesOfOneProcessShareTheTables) {
  auto second = EbpfEngine::open();
  ASSERT_TRUE(second);
  for (int i = 0; i < 50; ++i) {
    const VirtualServerKey key =
        VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.3"), static_cast<std::uint16_t>(1 + i));
    Engine& engine = i % 2 == 0 ? *engine_ : **second;
    VirtualServer server = VirtualServer::of(key);
    server.scheduler = "rr";
    const std::vector<Change> changes{AddVirtualServer{server}, AddRealServer{key, masqueraded("10.2.0.1", 80)}};
    const auto failures = engine.apply(changes);
    ASSERT_TRUE(failures && failures->empty());
  }
  EXPECT_EQ(list_all(*engine_)->size(), 51U);
  EXPECT_EQ(*SharedTables::here(), *SharedTables::here());
}

// Ids of real servers that were removed are used again by the process that has removed them: pods come and go.
TEST_F(Tend, IdsOfRemovedRealServersAreUsedAgain) {
  const Tables all = tables();
  const auto churn = [&](int from, int to) {
    for (int i = from; i < to; ++i) {
      const std::string address = "10.2.0." + std::to_string(i);
      apply({AddRealServer{kKey, masqueraded(address.c_str(), 5353)}});
      apply({RemoveRealServer{kKey, masqueraded(address.c_str(), 5353).key}});
    }
  };
  churn(10, 30);
  const std::uint32_t used = all.settings().reals;
  churn(30, 40);
  EXPECT_EQ(all.settings().reals, used + 10) << "they are kept for a while: each may come back with its connections";
  for (std::uint32_t id = 1; id < all.settings().reals; ++id) all.reals.at(id)->removed_s -= 1000;
  const std::uint32_t later = all.settings().reals;
  churn(40, 60);
  EXPECT_EQ(all.settings().reals, later);
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
