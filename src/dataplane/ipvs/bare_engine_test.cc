// SPDX-License-Identifier: Apache-2.0
// The data plane on engines that need less around them than the kernel's: no device for addresses, no helper rules (they
// have rules of their own), or neither. What it promises then is in the contract suite (contract_test.cc); here is what it leaves out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "dataplane/ipvs/test_world.h"

namespace sluice::dataplane::ipvs {
namespace {

using sluice::ipvs::describe_ip_vs;
using sluice::ipvs::Description;
using testing::ElementsAre;
using testing::IsEmpty;

plan::PortDraft web() {
  plan::PortDraft port = service_port("shop/web", "172.30.0.1");
  add_server(port, "10.1.0.2", 8080, Where::kHere);
  return port;
}

Description kernel_without(bool Description::* need) {
  Description description = describe_ip_vs("fake");
  description.*need = false;
  return description;
}

TEST(BareEngine, IsServedWithRulesOfItsOwn) {
  World world;
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world);
  expect_applied(*plane, full({web()}));
  EXPECT_THAT(real_servers(world, tcp("172.30.0.1", 80)), ElementsAre("10.1.0.2:8080 w1"));
  EXPECT_EQ(*plane->intact(), Integrity::kKept);
  EXPECT_TRUE(plane->compare(full({web()}))->empty());
  EXPECT_THAT(plane->rules_by_table(), ElementsAre(std::pair<std::string, std::size_t>("nftables", 1)));
  const auto rules = [&] {
    std::vector<std::string> keys;
    const auto live = world.engine.rules().read(Family::kIPv4);
    for (const auto& rule : live->rules) keys.push_back(sluice::ipvs::to_string(rule.key));
    return keys;
  };
  EXPECT_THAT(rules(), ElementsAre("TCP 172.30.0.1:80"));

  const plan::PortDraft before = web();
  plan::PortDraft after = service_port("shop/web", "172.30.0.2");
  add_server(after, "10.1.0.3", 8080);
  expect_applied(*plane, change(&before, &after));
  EXPECT_THAT(virtual_servers(world), ElementsAre("TCP 172.30.0.2:80"));
  EXPECT_THAT(rules(), ElementsAre("TCP 172.30.0.2:80"));
  expect_applied(*plane, change(&after, nullptr));
  EXPECT_THAT(virtual_servers(world), IsEmpty());
  EXPECT_TRUE(world.engine.rules().empty());

  EXPECT_THAT(world.events_of("bind"), IsEmpty());
  EXPECT_THAT(world.events_of("unbind"), IsEmpty());
  EXPECT_THAT(world.events_of("elements"), IsEmpty());
  EXPECT_THAT(world.events_of("replace elements"), IsEmpty());
  EXPECT_FALSE(world.device_there);
  EXPECT_FALSE(world.table_there);
}

TEST(BareEngine, EachNeedIsMetByItself) {
  World rules_only;
  rules_only.engine.describe(kernel_without(&Description::needs_local_addresses));
  expect_applied(*open_plane(rules_only), full({web()}));
  EXPECT_TRUE(rules_only.table_there);
  EXPECT_FALSE(rules_only.device_there);
  EXPECT_EQ(*open_plane(rules_only)->rules_by_table().begin(), (std::pair<std::string, std::size_t>("nftables", 20)));

  World device_only;
  device_only.engine.describe(kernel_without(&Description::needs_helper_rules));
  expect_applied(*open_plane(device_only), full({web()}));
  EXPECT_FALSE(device_only.table_there);
  EXPECT_FALSE(device_only.engine.rules().empty());
  EXPECT_THAT(device_only.bound, ElementsAre(ip("172.30.0.1")));
}

TEST(BareEngine, APartThatTheEngineNeedsIsNotForgotten) {
  World world;
  const auto open_without = [&](auto drop) {
    Parts parts = parts_of(world);
    drop(parts);
    const auto opened = IpvsDataPlane::open({}, std::move(parts), world.clock);
    return opened ? std::string() : opened.error().what;
  };
  EXPECT_EQ(open_without([](Parts&) {}), "");
  EXPECT_EQ(open_without([](Parts& parts) { parts.table.reset(); }), "ipvs: engine fake needs rules");
  EXPECT_EQ(open_without([](Parts& parts) { parts.device.reset(); }), "ipvs: engine fake needs a device for addresses");
  EXPECT_EQ(open_without([](Parts& parts) { parts.network.reset(); }), "ipvs: no engine or no network");
}

// What must not become local to the node may be served by who makes nothing local.
TEST(BareEngine, TheNodesOwnAddressMayBeAnExternalIp) {
  plan::PortDraft port = web();
  port.external_ips = {ip("192.168.0.2"), ip("192.168.0.1")};
  World kernel;
  const auto with_device = open_plane(kernel);
  expect_applied(*with_device, full({port}));
  EXPECT_EQ(with_device->refusals().size(), 2U);

  World world;
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world);
  expect_applied(*plane, full({port}));
  EXPECT_THAT(plane->refusals(), IsEmpty());
  EXPECT_THAT(virtual_servers(world), ElementsAre("TCP 172.30.0.1:80", "TCP 192.168.0.1:80", "TCP 192.168.0.2:80"));
}

TEST(BareEngine, DamageIsNoticed) {
  World world;
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world);
  expect_applied(*plane, full({web()}));
  ASSERT_TRUE(world.engine.flush());
  EXPECT_EQ(*plane->intact(), Integrity::kDamaged);
  EXPECT_THAT(plane->compare(full({web()}))->missing, ElementsAre("virtual server TCP 172.30.0.1:80"));
}

TEST(BareEngine, AddressesAreRecordedWhereNothingElseListsThem) {
  char name[] = "/tmp/sluice-state-XXXXXX";
  const std::string folder = ::mkdtemp(name);
  Options options;
  options.state_folder = folder;
  const auto recorded = [&] { return AddressRecord(folder, Family::kIPv4).entries(); };
  for (const auto need : {&Description::needs_local_addresses, &Description::needs_helper_rules}) {
    World world;
    world.engine.describe(kernel_without(need));
    expect_applied(*open_plane(world, options), full({web()}));
    EXPECT_THAT(recorded(), IsEmpty());
  }
  World world;
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world, options);
  expect_applied(*plane, full({web()}));
  EXPECT_THAT(recorded(), ElementsAre(ip("172.30.0.1")));
  const plan::PortDraft before = web();
  const plan::PortDraft after = service_port("shop/web", "172.30.0.2");
  world.changes_left = 0;
  EXPECT_FALSE(plane->apply(change(&before, &after)));
  EXPECT_THAT(recorded(), ElementsAre(ip("172.30.0.1"), ip("172.30.0.2"))) << "before the engine has it";
  world.changes_left = World::kNever;
  expect_applied(*open_plane(world, options), full({after}));
  EXPECT_THAT(recorded(), ElementsAre(ip("172.30.0.2")));
  std::filesystem::remove_all(folder);
}

TEST(BareEngine, ItsOwnWorkIsDoneAsOftenAsItAsks) {
  using std::chrono::milliseconds;
  World world;
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world);
  expect_applied(*plane, full({web()}));
  EXPECT_EQ(*plane->tend(), std::nullopt);
  world.engine.tend_again = milliseconds(100);
  EXPECT_EQ(*plane->tend(), milliseconds(100));
  EXPECT_EQ(world.engine.tend_calls, 2U);
  // Beside a drain, whichever comes first.
  set_connections(world, tcp("172.30.0.1", 80), "10.1.0.2", 1);
  const plan::PortDraft before = web();
  plan::PortDraft after = service_port("shop/web", "172.30.0.1");
  add_server(after, "10.1.0.3", 8080);
  expect_applied(*plane, change(&before, &after));
  EXPECT_EQ(*plane->tend(), milliseconds(100));
  world.engine.tend_again = std::chrono::hours(1);
  const auto next = *plane->tend();
  ASSERT_TRUE(next);
  EXPECT_LT(*next, std::chrono::hours(1));
}

TEST(BareEngine, ItsOwnWorkIsDoneAlsoWhereADrainFails) {
  World world;
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world);
  const plan::PortDraft before = web();
  expect_applied(*plane, full({before}));
  set_connections(world, tcp("172.30.0.1", 80), "10.1.0.2", 1);
  plan::PortDraft after = service_port("shop/web", "172.30.0.1");
  add_server(after, "10.1.0.3", 8080);
  expect_applied(*plane, change(&before, &after));
  world.clock.advance(std::chrono::minutes(30));
  world.changes_left = 0;
  const auto tended = plane->tend();
  ASSERT_FALSE(tended);
  EXPECT_THAT(tended.error().what, testing::HasSubstr("the process has ended"));
  EXPECT_EQ(world.engine.tend_calls, 1U);
}

TEST(BareEngine, WhatItCannotDoIsReportedOnce) {
  World world;
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world);
  expect_applied(*plane, full({web()}));
  for (int i = 0; i < 2; ++i) {
    world.engine.complaints = {"device odd0 refuses"};
    ASSERT_TRUE(plane->tend());
  }
  ASSERT_EQ(world.warnings.size(), 1U);
  EXPECT_EQ(world.warnings[0].what, "device odd0 refuses");
}

TEST(BareEngine, DevicesThatCannotBeListedAreShownAsUnknown) {
  World world;
  world.engine.describe(kBareEngine);
  world.engine.work_shown = {.connections = 7, .connections_max = 9, .devices_unknown = "tables are damaged"};
  const auto plane = open_plane(world);
  const auto work = plane->kernel_work();
  ASSERT_TRUE(work);
  EXPECT_THAT(work->lines,
              ElementsAre("connections: 7 of at most 9", "devices with programs: not known: tables are damaged"));
}

TEST(BareEngine, AClusterIpThatIsTheGatewayIsNotRouted) {
  World world;
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world);
  const plan::PortDraft port = service_port("shop/web", "192.168.0.1");
  expect_applied(*plane, full({port}));
  EXPECT_EQ(plane->refusals().size(), 1U);
  EXPECT_THAT(world.engine.rules().read(Family::kIPv4)->addresses, IsEmpty());
}

TEST(BareEngine, ANodePortAmongThoseOfMasqueradedConnectionsIsWarnedOf) {
  plan::PortDraft port = web();
  port.node_port = 32767;
  World world;
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world);
  expect_applied(*plane, full({port}));
  EXPECT_THAT(world.warnings, IsEmpty());
  const plan::PortDraft before = port;
  port.node_port = 32768;
  expect_applied(*plane, change(&before, &port));
  ASSERT_EQ(world.warnings.size(), 1U);
  EXPECT_THAT(world.warnings.front().what, testing::HasSubstr("node port 32768 is among"));
  World kernel;
  expect_applied(*open_plane(kernel), full({port}));
  EXPECT_THAT(kernel.warnings, IsEmpty());
}

TEST(BareEngine, GapsFollowTheDescription) {
  World world;
  EXPECT_FALSE(open_plane(world)->capabilities().can(Gap::kSourceFromLoopback));
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world);
  EXPECT_TRUE(plane->capabilities().can(Gap::kSourceFromLoopback));
  EXPECT_FALSE(plane->capabilities().can(Gap::kDropByPolicy)) << "it is the same one list of real servers";
  EXPECT_FALSE(plane->capabilities().can(Gap::kPoolBySource));
}

TEST(BareEngine, ItsWorkIsShownToUsers) {
  World world;
  world.engine.describe(kBareEngine);
  const auto plane = open_plane(world);
  EXPECT_FALSE(plane->kernel_work());
  world.engine.work_shown = {.connections = 12,
                             .connections_max = 1048576,
                             .devices = 4,
                             .devices_without = {"eth7", "eth9"},
                             .dropped = {{"no_route", 0}, {"busy", 3}}};
  const auto work = plane->kernel_work();
  ASSERT_TRUE(work);
  EXPECT_EQ(work->lines,
            (std::vector<std::string>{"connections: 12 of at most 1048576", "programs on 4 devices, not on eth7, eth9",
                                      "dropped packets: busy 3"}));
  EXPECT_EQ(work->dropped, (std::vector<std::pair<std::string, std::uint64_t>>{{"no_route", 0}, {"busy", 3}}));
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
