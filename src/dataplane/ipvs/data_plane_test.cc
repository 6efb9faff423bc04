// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/test_world.h"

namespace sluice::dataplane::ipvs {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

plan::PortDraft web() {
  plan::PortDraft port = service_port("shop/web", "172.30.10.20");
  add_server(port, "10.2.0.1", 8080);
  add_server(port, "10.2.0.2", 8080);
  return port;
}

TEST(IpvsDataPlane, ServesAServiceAndRemovesIt) {
  World world;
  const auto plane = open_plane(world);
  expect_applied(*plane, full({web()}));
  EXPECT_THAT(virtual_servers(world), ElementsAre("TCP 172.30.10.20:80"));
  EXPECT_THAT(real_servers(world, tcp("172.30.10.20", 80)), ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w1"));
  EXPECT_THAT(world.bound, ElementsAre(ip("172.30.10.20")));
  EXPECT_THAT(world.elements.cluster_ips, ElementsAre(ServedAddress{ip("172.30.10.20"), Protocol::kTcp, 80}));
  const auto before = web();
  expect_applied(*plane, change(&before, nullptr));
  EXPECT_THAT(virtual_servers(world), IsEmpty());
  EXPECT_THAT(world.bound, IsEmpty());
  EXPECT_EQ(world.elements, HelperElements{});
}

TEST(IpvsDataPlane, TheFirstApplyMustBeFull) {
  World world;
  const auto port = web();
  const auto applied = open_plane(world)->apply(change(nullptr, &port));
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().code, Errc::kInvalid);
}

TEST(IpvsDataPlane, FirstSyncServesTheApiServerAndDnsBeforeTheRest) {
  World world;
  auto dns = service_port("kube-system/kube-dns", "172.30.0.10", Protocol::kUdp);
  dns.port = 53;
  add_server(dns, "10.2.0.3", 53);
  expect_applied(*open_plane(world), full({service_port("a/first-by-name", "172.30.0.5"),
                                           service_port("default/kubernetes", "172.30.0.1"), dns}));
  EXPECT_THAT(world.events, ElementsAre("replace elements", "add TCP 172.30.0.1:80", "add UDP 172.30.0.10:53",
                                        "add real server 10.2.0.3:53 to UDP 172.30.0.10:53", "bind 172.30.0.1",
                                        "bind 172.30.0.10", "add TCP 172.30.0.5:80", "bind 172.30.0.5"));
}

TEST(IpvsDataPlane, AnAddressIsBoundOnceAllItsPortsAreThere) {
  World world;
  auto udp_port = service_port("shop/web", "172.30.10.20", Protocol::kUdp);
  auto other = service_port("shop/other", "172.30.10.21");
  expect_applied(*open_plane(world), full({web(), udp_port, other}));
  const auto adds = world.events_of("add UDP 172.30.10.20:80");
  ASSERT_EQ(adds.size(), 1u);
  EXPECT_LT(std::find(world.events.begin(), world.events.end(), "add UDP 172.30.10.20:80"),
            std::find(world.events.begin(), world.events.end(), "bind 172.30.10.20"));
}

TEST(IpvsDataPlane, RestartChangesNothingThatIsRight) {
  World world;
  auto port = web();
  port.affinity_seconds = 600;
  port.node_port = 30080;
  port.load_balancer_ips = {ip("192.0.2.80")};
  expect_applied(*open_plane(world), full({port}));
  world.forget();
  const auto applied = open_plane(world)->apply(full({port}));
  ASSERT_TRUE(applied) << applied.error().what;
  EXPECT_THAT(world.events, ElementsAre("replace elements"));
  EXPECT_EQ(world.messages, 0u);
  EXPECT_EQ(world.lists, 1u);
  EXPECT_EQ(applied->stats.rules_written, 0u);
}

TEST(IpvsDataPlane, AForeignVirtualServerIsRemovedUnlessItIsExcludedOrOfAMark) {
  World world;
  const auto add = [&](const VirtualServerKey& key) {
    ASSERT_TRUE(
        world.engine.apply(std::vector<TableChange>{sluice::ipvs::AddVirtualServer{VirtualServer::of(key)}})->empty());
  };
  add(tcp("203.0.113.9", 80));
  add(tcp("198.18.0.1", 80));
  add(tcp("2001:db8::9", 80));
  add(VirtualServerKey::of_mark(Family::kIPv4, 7));
  Options options;
  options.exclude_cidrs = {cidr("198.18.0.0/16")};
  expect_applied(*open_plane(world, options), full({}));
  EXPECT_THAT(virtual_servers(world), UnorderedElementsAre("TCP 198.18.0.1:80", "TCP [2001:db8::9]:80", "FWM 7"));
}

TEST(IpvsDataPlane, EachFamilyTouchesOnlyItsOwn) {
  World world;
  Options six;
  six.family = Family::kIPv6;
  auto port6 = service_port("shop/web", "fd00::20");
  port6.node_port = 30080;
  add_server(port6, "fd02::1", 8080);
  auto port4 = web();
  port4.node_port = 30080;
  Options four;
  four.localhost_node_ports = false;
  six.localhost_node_ports = false;
  expect_applied(*open_plane(world, four), full({port4}));
  expect_applied(*open_plane(world, six), full({port6}));
  const std::vector<std::string> all{"TCP 172.30.10.20:80", "TCP 192.168.0.2:30080", "TCP 192.168.1.2:30080",
                                     "TCP [2001:db8::2]:30080", "TCP [fd00::20]:80"};
  EXPECT_EQ(virtual_servers(world), all);
  EXPECT_THAT(world.bound, UnorderedElementsAre(ip("172.30.10.20"), ip("fd00::20")));
  expect_applied(*open_plane(world, four), full({port4}));
  EXPECT_EQ(virtual_servers(world), all);
  expect_applied(*open_plane(world, four), full({}));
  EXPECT_THAT(virtual_servers(world), ElementsAre("TCP [2001:db8::2]:30080", "TCP [fd00::20]:80"));
  EXPECT_THAT(world.bound, ElementsAre(ip("fd00::20")));
}

TEST(IpvsDataPlane, SuperfluousAddressesAreRemovedAfterAFullSyncAndLinkLocalOnesStay) {
  World world;
  world.device_there = true;
  world.bound = {ip("172.30.99.99"), ip("fe80::1"), ip("fd00::99")};
  Options options;
  options.family = Family::kIPv6;
  expect_applied(*open_plane(world, options), full({}));
  EXPECT_THAT(world.bound, UnorderedElementsAre(ip("172.30.99.99"), ip("fe80::1")));
}

TEST(IpvsDataPlane, NewBeforeOldAndElementsOutermost) {
  World world;
  const auto plane = open_plane(world);
  const auto before = web();
  expect_applied(*plane, full({before}));
  auto after = before;
  after.load_balancer_ips = {ip("192.0.2.80")};
  after.real_servers[0].address = ip("10.2.0.3");
  world.forget();
  expect_applied(*plane, change(&before, &after));
  EXPECT_THAT(world.events,
              ElementsAre("elements +2 -0", "add real server 10.2.0.3:8080 to TCP 172.30.10.20:80",
                          "add TCP 192.0.2.80:80", "add real server 10.2.0.2:8080 to TCP 192.0.2.80:80",
                          "add real server 10.2.0.3:8080 to TCP 192.0.2.80:80", "bind 192.0.2.80",
                          "edit real server 10.2.0.1:8080 of TCP 172.30.10.20:80", "find TCP 172.30.10.20:80",
                          "remove real server 10.2.0.1:8080 from TCP 172.30.10.20:80"));
  world.forget();
  expect_applied(*plane, change(&after, &before));
  EXPECT_EQ(world.events.back(), "elements +0 -2");
  EXPECT_EQ(world.events[world.events.size() - 2], "unbind 192.0.2.80");
}

TEST(IpvsDataPlane, OneEndpointsChangeCostsTheSameAmongTwoOrTwoThousandServices) {
  const auto cost = [](std::uint32_t services) {
    World world;
    std::vector<plan::PortDraft> ports;
    for (std::uint32_t i = 0; i < services; ++i) {
      auto port = service_port(fmt::format("shop/web-{}", i), IpAddress::from_v4(0xac1e0001 + i).to_string());
      port.node_port = static_cast<std::uint16_t>(30000 + i);
      for (std::uint32_t e = 0; e < 10; ++e)
        add_server(port, IpAddress::from_v4(0x0a020001 + 10 * i + e).to_string(), 8080);
      ports.push_back(port);
    }
    const auto plane = open_plane(world);
    expect_applied(*plane, full(ports));
    auto after = ports[1];
    after.real_servers[3].address = ip("10.99.0.1");
    world.forget();
    const auto applied = plane->apply(change(&ports[1], &after));
    EXPECT_TRUE(applied);
    EXPECT_EQ(world.lists, 0u);
    EXPECT_EQ(applied->stats.kernel_transactions, 3u) << "additions, weights of 0, removals";
    // Four virtual servers (cluster IP, node port on three addresses), for each: add, weight 0, look, remove.
    EXPECT_EQ(world.messages, 4u * 4u);
    return world.messages;
  };
  EXPECT_EQ(cost(2), cost(2000));
}

TEST(IpvsDataPlane, WeightsAndSettingsAreEditedInPlace) {
  World world;
  const auto plane = open_plane(world);
  const auto before = web();
  expect_applied(*plane, full({before}));
  set_connections(world, tcp("172.30.10.20", 80), "10.2.0.1", 5);
  auto after = before;
  after.sluice_annotations = {{"sluice.dev/scheduler", "mh,mh-port"}};
  after.affinity_seconds = 60;
  after.real_servers[1].weight = 9;
  world.forget();
  expect_applied(*plane, change(&before, &after));
  EXPECT_THAT(world.events,
              ElementsAre("edit TCP 172.30.10.20:80", "edit real server 10.2.0.2:8080 of TCP 172.30.10.20:80"));
  const auto* state = world.engine.live(tcp("172.30.10.20", 80));
  EXPECT_EQ(state->server.scheduler, "mh");
  EXPECT_EQ(state->server.flags, 0x11u);
  EXPECT_EQ(state->server.persistence_timeout_s, 60u);
  EXPECT_THAT(real_servers(world, tcp("172.30.10.20", 80)), ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w9"));
}

TEST(IpvsDataPlane, ASchedulerThatTheKernelLacksIsReplacedByRrAndReportedOncePerService) {
  World world;
  const auto plane = open_plane(world);
  auto port = web();
  port.sluice_annotations = {{"sluice.dev/scheduler", "twos"}};
  auto other = service_port("shop/other", "172.30.10.21");
  other.sluice_annotations = port.sluice_annotations;
  expect_applied(*plane, full({port, service_port("shop/plain", "172.30.10.22")}));
  const auto* state = world.engine.live(tcp("172.30.10.20", 80));
  ASSERT_NE(state, nullptr);
  EXPECT_EQ(state->server.scheduler, "rr");
  EXPECT_THAT(real_servers(world, tcp("172.30.10.20", 80)), ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w1"));
  EXPECT_THAT(virtual_servers(world), Contains("TCP 172.30.10.22:80"));
  expect_applied(*plane, change(nullptr, &other));
  expect_applied(*plane, full({port, other}));
  ASSERT_EQ(world.warnings.size(), 2u);
  EXPECT_EQ(world.warnings[0].service->to_string(), "shop/web");
  EXPECT_THAT(world.warnings[0].what, HasSubstr("scheduler 'twos' is not known here"));
  EXPECT_EQ(world.warnings[1].service->to_string(), "shop/other");
  const auto difference = plane->compare(full({port, other}));
  ASSERT_TRUE(difference);
  EXPECT_TRUE(difference->empty()) << testing::PrintToString(difference->missing);
}

TEST(IpvsDataPlane, TheFallbackKeepsAffinityAndDropsTheSchedulersFlags) {
  World world;
  const auto plane = open_plane(world);
  auto port = web();
  port.affinity_seconds = 60;
  port.sluice_annotations = {{"sluice.dev/scheduler", "twos,flag-1"}};
  expect_applied(*plane, full({port}));
  EXPECT_EQ(world.engine.live(tcp("172.30.10.20", 80))->server.flags, 0x1u);
  EXPECT_EQ(world.engine.live(tcp("172.30.10.20", 80))->server.persistence_timeout_s, 60u);
}

TEST(IpvsDataPlane, AMissingDefaultSchedulerIsReportedOnce) {
  World world;
  Options options;
  options.scheduler = "fastest";
  const auto plane = open_plane(world, options);
  expect_applied(*plane, full({web(), service_port("shop/other", "172.30.10.21")}));
  expect_applied(*plane, full({web()}));
  ASSERT_EQ(world.warnings.size(), 1u);
  EXPECT_FALSE(world.warnings[0].service);
  EXPECT_EQ(world.engine.live(tcp("172.30.10.20", 80))->server.scheduler, "rr");
}

TEST(IpvsDataPlane, RefusedAddressesAreListedAndTheRestIsServed) {
  World world;
  const auto plane = open_plane(world);
  auto port = web();
  port.external_ips = {ip("192.168.0.2")};
  expect_applied(*plane, full({port}));
  ASSERT_EQ(plane->refusals().size(), 1u);
  EXPECT_EQ(plane->refusals()[0].port, port.key);
  EXPECT_EQ(plane->refusals()[0].reason, "192.168.0.2 is an address of this node (eth0)");
  EXPECT_THAT(virtual_servers(world), ElementsAre("TCP 172.30.10.20:80"));
  EXPECT_THAT(world.bound, ElementsAre(ip("172.30.10.20")));
  const auto mended = web();
  expect_applied(*plane, change(&port, &mended));
  EXPECT_THAT(plane->refusals(), IsEmpty());
}

TEST(IpvsDataPlane, TheEndpointsOfTheApiServersAreRefusedAlsoWhenTheyMove) {
  World world;
  const auto plane = open_plane(world);
  auto api = service_port("default/kubernetes", "172.30.0.1");
  add_server(api, "192.0.2.5", 6443);
  auto port = web();
  port.external_ips = {ip("192.0.2.5"), ip("192.0.2.6")};
  expect_applied(*plane, full({api, port}));
  ASSERT_EQ(plane->refusals().size(), 1u);
  EXPECT_EQ(plane->refusals()[0].reason, "192.0.2.5 is the address of the API server");
  EXPECT_THAT(world.bound, UnorderedElementsAre(ip("172.30.0.1"), ip("172.30.10.20"), ip("192.0.2.6")));
  auto moved = api;
  moved.real_servers[0].address = ip("192.0.2.6");
  expect_applied(*plane, change(&api, &moved));
  ASSERT_EQ(plane->refusals().size(), 1u);
  EXPECT_EQ(plane->refusals()[0].frontend.address, ip("192.0.2.6"));
  EXPECT_THAT(world.bound, UnorderedElementsAre(ip("172.30.0.1"), ip("172.30.10.20"), ip("192.0.2.5")));
  EXPECT_THAT(real_servers(world, tcp("172.30.0.1", 80)), ElementsAre("192.0.2.6:6443 w1"));
  world.forget();
  auto other = moved;
  other.node_port = 30443;
  expect_applied(*plane, change(&moved, &other));
  EXPECT_EQ(world.lists, 0u) << "the endpoints are the same";
}

TEST(IpvsDataPlane, ARefusedRealServerIsReportedAndTheOthersServe) {
  World world;
  auto port = web();
  add_server(port, "224.0.0.1", 8080);
  const auto plane = open_plane(world);
  const auto applied = plane->apply(full({port, service_port("shop/zzz", "172.30.10.22")}));
  ASSERT_TRUE(applied) << applied.error().what;
  ASSERT_EQ(applied->refused.size(), 1u);
  EXPECT_EQ(applied->refused[0].port, port.key);
  EXPECT_THAT(applied->refused[0].reason, HasSubstr("224.0.0.1:8080"));
  EXPECT_THAT(real_servers(world, tcp("172.30.10.20", 80)), ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w1"));
  EXPECT_THAT(virtual_servers(world), Contains("TCP 172.30.10.22:80"));
  EXPECT_THAT(world.bound, UnorderedElementsAre(ip("172.30.10.20"), ip("172.30.10.22")));

  // Another attempt costs this port, and a valid version of it is served.
  world.forget();
  EXPECT_EQ(plane->apply(change(&port, &port))->refused.size(), 1u);
  EXPECT_EQ(world.lists, 0u);
  EXPECT_THAT(world.events, ElementsAre("find TCP 172.30.10.20:80", HasSubstr("add real server 224.0.0.1:8080")));
  auto mended = port;
  mended.real_servers.pop_back();
  add_server(mended, "10.2.0.9", 8080);
  expect_applied(*plane, change(&port, &mended));
  EXPECT_THAT(real_servers(world, tcp("172.30.10.20", 80)), Contains("10.2.0.9:8080 w1"));
}

TEST(IpvsDataPlane, AnUnbindableAddressIsReportedAndTheOthersAreBound) {
  World world;
  world.unbindable = {ip("172.30.10.20")};
  const auto plane = open_plane(world);
  const auto first = web();
  const auto other = service_port("shop/zzz", "172.30.10.22");
  const auto applied = plane->apply(full({first, other}));
  ASSERT_TRUE(applied) << applied.error().what;
  ASSERT_EQ(applied->refused.size(), 1u);
  EXPECT_EQ(applied->refused[0].port, first.key);
  EXPECT_THAT(applied->refused[0].reason, HasSubstr("172.30.10.20"));
  EXPECT_THAT(world.bound, ElementsAre(ip("172.30.10.22")));
  EXPECT_EQ(*plane->intact(), Integrity::kKept);
  EXPECT_TRUE(plane->compare(full({first, other}))->empty());

  world.unbindable.clear();
  world.forget();
  expect_applied(*plane, change(&first, &first));
  EXPECT_THAT(world.events, ElementsAre("bind 172.30.10.20"));
  EXPECT_EQ(*plane->intact(), Integrity::kKept);
  expect_applied(*plane, change(&first, nullptr));
  EXPECT_THAT(world.bound, ElementsAre(ip("172.30.10.22")));
}

TEST(IpvsDataPlane, AnAddressThatWasNeverBoundIsNotUnbound) {
  World world;
  world.unbindable = {ip("172.30.10.20")};
  const auto plane = open_plane(world);
  const auto first = web();
  ASSERT_TRUE(plane->apply(full({first})));
  world.forget();
  expect_applied(*plane, change(&first, nullptr));
  EXPECT_THAT(world.events_of("unbind"), IsEmpty());
}

TEST(IpvsDataPlane, WithoutTheDeviceNodePortsAreServedAndEveryPortHasTheReason) {
  World world;
  world.device_possible = false;
  auto port = web();
  port.node_port = 30080;
  const auto plane = open_plane(world);
  const auto applied = plane->apply(full({port}));
  ASSERT_TRUE(applied) << applied.error().what;
  ASSERT_EQ(applied->refused.size(), 1u);
  EXPECT_THAT(applied->refused[0].reason, HasSubstr("add dummy kube-ipvs0"));
  EXPECT_THAT(real_servers(world, tcp("192.168.0.2", 30080)), ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w1"));
  EXPECT_EQ(*plane->intact(), Integrity::kKept);

  const auto other = service_port("shop/zzz", "172.30.10.22");
  world.forget();
  EXPECT_EQ(plane->apply(change(nullptr, &other))->refused.size(), 1u);
  EXPECT_EQ(world.lists, 0u) << "nothing was changed by others, so nothing is compared";
  world.device_possible = true;
  expect_applied(*plane, change(&other, &other));
  EXPECT_THAT(world.bound, ElementsAre(ip("172.30.10.22")));
}

TEST(IpvsDataPlane, ADeletedDeviceIsRecreatedByTheNextChange) {
  World world;
  const auto plane = open_plane(world);
  expect_applied(*plane, full({web()}));
  world.device_there = false;
  world.bound.clear();
  const auto other = service_port("shop/other", "172.30.10.21");
  expect_applied(*plane, change(nullptr, &other));
  EXPECT_TRUE(world.device_there);
  EXPECT_THAT(world.bound, UnorderedElementsAre(ip("172.30.10.20"), ip("172.30.10.21")));
}

TEST(IpvsDataPlane, AForeignChangeIsNoticedByTheNextChangeAndRepaired) {
  World world;
  const auto plane = open_plane(world);
  const auto before = web();
  const auto other = service_port("shop/other", "172.30.10.21");
  expect_applied(*plane, full({before, other}));
  ASSERT_TRUE(world.engine.flush());
  auto after = before;
  add_server(after, "10.2.0.3", 8080);
  expect_applied(*plane, change(&before, &after));
  EXPECT_THAT(real_servers(world, tcp("172.30.10.20", 80)),
              ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w1", "10.2.0.3:8080 w1"));
  EXPECT_THAT(virtual_servers(world), Contains("TCP 172.30.10.21:80"));
  ASSERT_EQ(world.warnings.size(), 1u);
  EXPECT_THAT(world.warnings[0].what, HasSubstr("another program"));
}

TEST(IpvsDataPlane, AnAddressOfTwoServicesIsRemovedWithTheLast) {
  World world;
  const auto plane = open_plane(world);
  auto one = web();
  one.external_ips = {ip("198.51.100.7")};
  auto two = service_port("shop/xtra", "172.30.10.21");
  two.external_ips = {ip("198.51.100.7")};
  add_server(two, "10.2.9.9", 8080);
  expect_applied(*plane, full({one, two}));
  EXPECT_THAT(real_servers(world, tcp("198.51.100.7", 80)), ElementsAre("10.2.0.1:8080 w1", "10.2.0.2:8080 w1"))
      << "the smaller name has it";
  expect_applied(*plane, change(&one, nullptr));
  EXPECT_THAT(real_servers(world, tcp("198.51.100.7", 80)), Contains("10.2.9.9:8080 w1")) << "the other inherits it";
  EXPECT_TRUE(world.bound.contains(ip("198.51.100.7")));
  expect_applied(*plane, change(&two, nullptr));
  EXPECT_THAT(virtual_servers(world), IsEmpty());
  EXPECT_THAT(world.bound, IsEmpty());
}

TEST(IpvsDataPlane, FiveThousandAddressesAreAddedInOneSyncAndRemovedInOne) {
  World world;
  std::vector<plan::PortDraft> ports;
  for (std::uint32_t i = 0; i < 5000; ++i)
    ports.push_back(service_port(fmt::format("shop/s{}", i), IpAddress::from_v4(0xac1e0001 + i).to_string()));
  const auto plane = open_plane(world);
  expect_applied(*plane, full(ports));
  EXPECT_EQ(world.bound.size(), 5000u);
  EXPECT_EQ(virtual_servers(world).size(), 5000u);
  const auto first_bound = std::find_if(world.events.begin(), world.events.end(),
                                        [](const auto& event) { return event.starts_with("bind"); });
  EXPECT_THAT(std::vector(first_bound, world.events.end()), Contains(testing::StartsWith("add")))
      << "the first do not wait for the last";
  expect_applied(*plane, full({}));
  EXPECT_THAT(world.bound, IsEmpty());
  EXPECT_THAT(virtual_servers(world), IsEmpty());
}

TEST(IpvsDataPlaneOpen, RefusesABadScheduler) {
  World world;
  Options options;
  options.scheduler = "two words";
  const auto bad = IpvsDataPlane::open(options, parts_of(world), world.clock);
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().what, HasSubstr("ipvs.scheduler"));
}

// --init-only opens planes, too, beside one that serves: an engine must not be put into the node for that.
TEST(IpvsDataPlaneOpen, LeavesTheTimeoutsToTheFirstApply) {
  World world;
  Options options;
  options.timeouts = {7200, 0, 60};
  const auto plane = open_plane(world, options);
  EXPECT_EQ(*world.engine.timeouts(), (sluice::ipvs::Timeouts{900, 120, 300}));
  expect_applied(*plane, full({}));
  EXPECT_EQ(*world.engine.timeouts(), (sluice::ipvs::Timeouts{7200, 120, 60}));
  ASSERT_TRUE(world.engine.set_timeouts({1000, 0, 0}));
  expect_applied(*plane, full({}));
  EXPECT_EQ(world.engine.timeouts()->tcp_s, 1000U) << "set by hand";
  options.timeouts = {4'000'000'000, 0, 0};
  expect_applied(*open_plane(world, options), full({}));
  EXPECT_EQ(world.warnings.size(), 1u) << "refused timeouts stop nothing";
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
