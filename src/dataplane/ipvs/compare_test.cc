// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/test_world.h"

namespace sluice::dataplane::ipvs {
namespace {

using testing::UnorderedElementsAre;

plan::PortDraft web() {
  plan::PortDraft port = service_port("shop/web", "172.30.10.20");
  add_server(port, "10.2.0.1", 8080);
  add_server(port, "10.2.0.2", 8080);
  return port;
}

TEST(IpvsDataPlaneIntact, AsksForTheTableTheDeviceItsAddressesAndTheNodes) {
  World world;
  const auto plane = open_plane(world);
  expect_applied(*plane, full({web()}));
  EXPECT_EQ(*plane->intact(), Integrity::kKept);
  world.table_there = false;
  EXPECT_EQ(*plane->intact(), Integrity::kDamaged) << "the table is gone";
  world.table_there = true;
  world.device_there = false;
  EXPECT_EQ(*plane->intact(), Integrity::kDamaged) << "the device is gone";
  world.device_there = true;
  world.bound.erase(ip("172.30.10.20"));
  EXPECT_EQ(*plane->intact(), Integrity::kDamaged) << "an address is gone";
  world.bound.insert(ip("172.30.10.20"));
  EXPECT_EQ(*plane->intact(), Integrity::kKept);
  world.interfaces.push_back({"eth2", ip("192.168.2.2"), 24});
  EXPECT_EQ(*plane->intact(), Integrity::kNodeChanged) << "the node has another address";
  world.interfaces.back() = {"veth1", ip("fe80::77"), 64};
  EXPECT_EQ(*plane->intact(), Integrity::kKept) << "a new pod's interface makes no difference";
  for (auto& entry : world.interfaces) {
    if (entry.interface == "eth1") entry.interface = "veth2";
  }
  EXPECT_EQ(*plane->intact(), Integrity::kKept) << "the same address on another interface";
}

TEST(IpvsDataPlaneIntact, SeesChangesByOtherPrograms) {
  World world;
  Options options;
  options.exclude_cidrs = {cidr("198.18.0.0/16")};
  const auto plane = open_plane(world, options);
  expect_applied(*plane, full({web(), service_port("shop/other", "172.30.10.21")}));
  const VirtualServerKey web_key = tcp("172.30.10.20", 80);
  const auto to = [](std::string_view address, std::int32_t weight) {
    return to_real_server({RealServerKey::of(ip(address), 8080), weight});
  };
  VirtualServer edited = world.engine.live(web_key)->server;
  edited.scheduler = "lc";
  struct Row {
    const char* what;
    TableChange change;
    bool intact;
  };
  const std::vector<Row> rows{
      {"a real server gone", sluice::ipvs::RemoveRealServer{web_key, to("10.2.0.1", 1).key}, false},
      {"another weight", sluice::ipvs::EditRealServer{web_key, to("10.2.0.1", 7)}, false},
      {"one real server more", sluice::ipvs::AddRealServer{web_key, to("10.2.0.9", 1)}, false},
      {"one that is drained", sluice::ipvs::AddRealServer{web_key, to("10.2.0.9", 0)}, true},
      {"another scheduler", sluice::ipvs::EditVirtualServer{edited}, false},
      {"a virtual server gone", sluice::ipvs::RemoveVirtualServer{tcp("172.30.10.21", 80)}, false},
      {"one more", sluice::ipvs::AddVirtualServer{VirtualServer::of(tcp("203.0.113.9", 80))}, false},
      {"one more that is excluded", sluice::ipvs::AddVirtualServer{VirtualServer::of(tcp("198.18.0.1", 80))}, true},
      {"one of the other family", sluice::ipvs::AddVirtualServer{VirtualServer::of(tcp("2001:db8::9", 80))}, true},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    EXPECT_EQ(*plane->intact(), Integrity::kKept);
    ASSERT_TRUE(world.engine.apply(std::vector{row.change})->empty());
    EXPECT_EQ(*plane->intact(), row.intact ? Integrity::kKept : Integrity::kDamaged);
    expect_applied(*plane, full({web(), service_port("shop/other", "172.30.10.21")}));
  }
  world.elements.cluster_ips.erase(world.elements.cluster_ips.begin());
  EXPECT_EQ(*plane->intact(), Integrity::kDamaged) << "an element of a set";
  expect_applied(*plane, full({web(), service_port("shop/other", "172.30.10.21")}));
  world.bound.insert(ip("172.30.99.99"));
  EXPECT_EQ(*plane->intact(), Integrity::kDamaged) << "an address that is no Service's";
  world.bound.erase(ip("172.30.99.99"));
  world.bound.insert(ip("fd00::99"));
  EXPECT_EQ(*plane->intact(), Integrity::kKept) << "the other family's addresses are not ours";
}

TEST(IpvsDataPlaneIntact, OfALargeTableSomeRealServersAreCheckedEachTime) {
  constexpr std::uint32_t kServices = IpvsDataPlane::kLookedAtMost + 500;
  World world;
  const auto plane = open_plane(world);
  std::vector<plan::PortDraft> ports;
  for (std::uint32_t i = 0; i < kServices; ++i) {
    ports.push_back(service_port(fmt::format("shop/web-{}", i), IpAddress::from_v4(0xac1e0001 + i).to_string()));
    add_server(ports.back(), "10.2.0.1", 8080);
  }
  expect_applied(*plane, full(ports));
  const auto key = [](std::uint32_t i) {
    return VirtualServerKey::of(Protocol::kTcp, IpAddress::from_v4(0xac1e0001 + i), 80);
  };
  const auto remove = [&](std::uint32_t i) {
    const TableChange change = sluice::ipvs::RemoveRealServer{key(i), RealServerKey::of(ip("10.2.0.1"), 8080)};
    ASSERT_TRUE(world.engine.apply(std::vector{change})->empty());
  };
  remove(kServices - 1);
  EXPECT_EQ(*plane->intact(), Integrity::kKept) << "not yet its turn";
  EXPECT_EQ(*plane->intact(), Integrity::kDamaged);
  expect_applied(*plane, full(ports));
  remove(0);
  EXPECT_EQ(*plane->intact(), Integrity::kDamaged) << "the first again, after the last";
  expect_applied(*plane, full(ports));
  ASSERT_TRUE(world.engine.apply(std::vector<TableChange>{sluice::ipvs::RemoveVirtualServer{key(3)}})->empty());
  EXPECT_EQ(*plane->intact(), Integrity::kDamaged) << "virtual servers are all looked at every time";
}

TEST(IpvsDataPlaneCompare, NamesWhatIsMissingAndWhatIsUnexpected) {
  World world;
  const auto plane = open_plane(world);
  auto two = service_port("shop/other", "172.30.10.21");
  const Changes wanted = full({web(), two});
  expect_applied(*plane, wanted);
  EXPECT_TRUE(plane->compare(wanted)->empty());
  world.bound.erase(ip("172.30.10.20"));
  world.bound.insert(ip("172.30.99.99"));
  world.elements.cluster_ips.clear();
  VirtualServer edited = world.engine.live(tcp("172.30.10.20", 80))->server;
  edited.scheduler = "lc";
  RealServer heavy = to_real_server({RealServerKey::of(ip("10.2.0.2"), 8080), 5});
  const std::vector<TableChange> meddling{
      sluice::ipvs::EditVirtualServer{edited},
      sluice::ipvs::RemoveRealServer{tcp("172.30.10.20", 80), RealServerKey::of(ip("10.2.0.1"), 8080)},
      sluice::ipvs::EditRealServer{tcp("172.30.10.20", 80), heavy},
      sluice::ipvs::AddRealServer{tcp("172.30.10.20", 80),
                                  to_real_server({RealServerKey::of(ip("10.2.0.9"), 8080), 1})},
      sluice::ipvs::AddRealServer{tcp("172.30.10.20", 80),
                                  to_real_server({RealServerKey::of(ip("10.2.0.8"), 8080), 0})},
      sluice::ipvs::RemoveVirtualServer{tcp("172.30.10.21", 80)},
      sluice::ipvs::AddVirtualServer{VirtualServer::of(tcp("203.0.113.9", 80))},
  };
  ASSERT_TRUE(world.engine.apply(meddling)->empty());
  const auto difference = plane->compare(wanted);
  ASSERT_TRUE(difference);
  EXPECT_THAT(difference->missing,
              UnorderedElementsAre("elements",
                                   "virtual server TCP 172.30.10.20:80 with scheduler rr, flags 0x0, persistence 0 s",
                                   "real server 10.2.0.1:8080 of TCP 172.30.10.20:80",
                                   "real server 10.2.0.2:8080 of TCP 172.30.10.20:80 with weight 1",
                                   "virtual server TCP 172.30.10.21:80", "address 172.30.10.20 on kube-ipvs0"));
  EXPECT_THAT(difference->unexpected,
              UnorderedElementsAre("virtual server TCP 172.30.10.20:80 with scheduler lc, flags 0x0, persistence 0 s",
                                   "real server 10.2.0.2:8080 of TCP 172.30.10.20:80 with weight 5",
                                   "real server 10.2.0.9:8080 of TCP 172.30.10.20:80",
                                   "virtual server TCP 203.0.113.9:80", "address 172.30.99.99 on kube-ipvs0"));
  expect_applied(*plane, wanted);
  EXPECT_TRUE(plane->compare(wanted)->empty()) << "a full sync mends all of it";
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
