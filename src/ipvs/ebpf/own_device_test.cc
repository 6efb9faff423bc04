// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/own_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/ip_literals.h"
#include "ipvs/ebpf/ebpf_engine.h"
#include "ipvs/ebpf/test_net.h"
#include "sys/bpf_place.h"
#include "sys/links.h"
#include "sys/sysctl.h"
#include "sys/test_netns.h"

namespace sluice::ipvs::ebpf {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;

const std::vector<IpAddress> kFour{ip("10.96.0.1"), ip("10.96.0.10")};
const std::vector<IpAddress> kSix{ip("fd00:10:96::1")};

// In a namespace of a node with two devices, the second of which leads to the rest of the world.
template <typename Body>
void on_a_node(Body body) {
  mount_own_bpf_file_system();
  in_fresh_netns([&] {
    run({"ip", "-batch", "-"},
        "link set lo up\n"
        "link add containers0 type bridge\n"
        "address add 172.17.0.1/16 dev containers0\n"
        "link set containers0 up\n"
        "link add uplink0 type bridge\n"
        "address add 192.168.7.1/24 dev uplink0\n"
        "address add fd07::1/64 dev uplink0 nodad\n"
        "link set uplink0 up\n"
        "route add default via 192.168.7.254\n"
        "route add default via fd07::fe\n");
    body();
  });
}

std::string route_to(const char* address) {
  return run({"ip", "route", "get", address});
}

TEST(OwnDevice, LeadsTheNodesOwnPacketsToItWithTheirUsualSource) {
  on_a_node([] {
    const auto number = OwnDevice::ensure();
    ASSERT_TRUE(number) << number.error().what;
    EXPECT_GT(*number, 0);
    OwnDevice device;
    EXPECT_EQ(*device.replace(Family::kIPv4, kFour), 2U);
    EXPECT_EQ(*device.replace(Family::kIPv6, kSix), 1U);
    EXPECT_THAT(route_to("10.96.0.10"), HasSubstr("dev sluice0 src 192.168.7.1"));
    EXPECT_THAT(route_to("fd00:10:96::1"), HasSubstr("dev sluice0"));
    EXPECT_THAT(route_to("fd00:10:96::1"), HasSubstr("src fd07::1"));
    EXPECT_THAT(route_to("10.96.0.2"), HasSubstr("dev uplink0")) << "no other address";
    EXPECT_THAT(*OwnDevice::addresses(Family::kIPv4), UnorderedElementsAre(kFour[0], kFour[1]));
    EXPECT_EQ(run({"ip", "address", "show", "dev", "sluice0"}).find("inet"), std::string::npos)
        << "no address of its own";
    EXPECT_TRUE(*OwnDevice::intact());
  });
}

// A process that may write settings comes after one that may not.
TEST(OwnDevice, GetsItsSettingsAlsoWhereItIsThereAlready) {
  on_a_node([] {
    ASSERT_TRUE(OwnDevice::ensure());
    const std::string name = "net/ipv4/conf/sluice0/rp_filter";
    ASSERT_TRUE(sys::ensure_sysctl(name, "1"));
    auto engine = EbpfEngine::open();
    ASSERT_TRUE(engine) << engine.error().what;
    ASSERT_TRUE((*engine)->prepare_node());
    EXPECT_EQ(*sys::read_sysctl(name), "0");
    EXPECT_FALSE(*sys::has_netns_pins()) << "it serves nothing yet";
  });
}

TEST(OwnDevice, ALaterProcessWritesTheDifferenceOnly) {
  on_a_node([] {
    ASSERT_TRUE(OwnDevice::ensure());
    ASSERT_TRUE(OwnDevice{}.replace(Family::kIPv4, kFour));
    ASSERT_TRUE(OwnDevice{}.replace(Family::kIPv6, kSix));
    ASSERT_TRUE(OwnDevice::ensure());
    OwnDevice later;
    EXPECT_EQ(*later.replace(Family::kIPv4, kFour), 0U);
    const std::vector<IpAddress> others{kFour[1], ip("10.96.0.11")};
    EXPECT_EQ(*later.replace(Family::kIPv4, others), 2U);
    EXPECT_THAT(*OwnDevice::addresses(Family::kIPv4), UnorderedElementsAre(others[0], others[1]));
    EXPECT_EQ(OwnDevice::addresses(Family::kIPv6)->size(), 1U) << "the other family's are left";
    EXPECT_EQ(*later.change(Family::kIPv4, std::vector{kFour[0], others[1]}, std::vector{kFour[1], ip("10.96.0.99")}),
              2U);
    EXPECT_THAT(*OwnDevice::addresses(Family::kIPv4), UnorderedElementsAre(kFour[0], others[1]));
  });
}

TEST(OwnDevice, HasTheSmallestMtuOfTheNode) {
  on_a_node([] {
    run({"ip", "link", "set", "containers0", "mtu", "1400"});
    ASSERT_TRUE(OwnDevice::ensure());
    OwnDevice device;
    ASSERT_TRUE(device.replace(Family::kIPv4, kFour));
    EXPECT_THAT(run({"ip", "link", "show", "dev", "sluice0"}), HasSubstr("mtu 1400"));
    run({"ip", "link", "add", "tunnel0", "mtu", "1340", "type", "bridge"});
    ASSERT_TRUE(device.follow());
    EXPECT_THAT(run({"ip", "link", "show", "dev", "sluice0"}), HasSubstr("mtu 1400")) << "it is not up";
    run({"ip", "link", "set", "tunnel0", "up"});
    ASSERT_TRUE(device.follow());
    EXPECT_THAT(run({"ip", "link", "show", "dev", "sluice0"}), HasSubstr("mtu 1340"));
    run({"ip", "link", "set", "tunnel0", "mtu", "700"});
    ASSERT_TRUE(device.follow());
    EXPECT_THAT(run({"ip", "link", "show", "dev", "sluice0"}), HasSubstr("mtu 1280")) << "IPv6 needs as much";
    EXPECT_THAT(*OwnDevice::addresses(Family::kIPv4), UnorderedElementsAre(kFour[0], kFour[1]));
  });
}

TEST(OwnDevice, RoutesFollowTheNodesAddressAndComeBack) {
  on_a_node([] {
    ASSERT_TRUE(OwnDevice::ensure());
    OwnDevice device;
    ASSERT_TRUE(device.replace(Family::kIPv4, kFour));
    run({"ip", "address", "del", "192.168.7.1/24", "dev", "uplink0"});
    EXPECT_TRUE(OwnDevice::addresses(Family::kIPv4)->empty())
        << "the kernel has taken the routes away with their source";
    run({"ip", "address", "add", "192.168.7.2/24", "dev", "uplink0"});
    run({"ip", "route", "add", "default", "via", "192.168.7.254"});
    EXPECT_NE(*device.follow(), 0);
    EXPECT_THAT(route_to("10.96.0.10"), HasSubstr("dev sluice0 src 192.168.7.2"));
    run({"ip", "link", "set", "sluice0", "down"});
    EXPECT_FALSE(*OwnDevice::intact());
    ASSERT_TRUE(device.follow());
    EXPECT_TRUE(*OwnDevice::intact());
    EXPECT_THAT(route_to("10.96.0.1"), HasSubstr("dev sluice0"));
    run({"ip", "link", "del", "sluice0"});
    EXPECT_FALSE(*OwnDevice::intact());
    ASSERT_TRUE(device.follow());
    EXPECT_THAT(route_to("10.96.0.1"), HasSubstr("dev sluice0 src 192.168.7.2"));
  });
}

TEST(OwnDevice, NeedsNoDefaultRoute) {
  on_a_node([] {
    run({"ip", "route", "del", "default"});
    ASSERT_TRUE(OwnDevice::ensure());
    OwnDevice device;
    ASSERT_TRUE(device.replace(Family::kIPv4, kFour));
    EXPECT_THAT(route_to("10.96.0.10"), HasSubstr("dev sluice0"));
    EXPECT_EQ(*OwnDevice{}.replace(Family::kIPv4, kFour), 0U) << "and it stays as it is";
  });
}

TEST(OwnDevice, ARouteOfSomebodyElseStays) {
  on_a_node([] {
    run({"ip", "route", "add", "10.96.0.1/32", "dev", "uplink0"});
    ASSERT_TRUE(OwnDevice::ensure());
    OwnDevice device;
    EXPECT_EQ(*device.replace(Family::kIPv4, kFour), 1U);
    EXPECT_THAT(route_to("10.96.0.1"), HasSubstr("dev uplink0"));
    ASSERT_TRUE(device.change(Family::kIPv4, {}, kFour));
    EXPECT_THAT(route_to("10.96.0.1"), HasSubstr("dev uplink0"));
    EXPECT_TRUE(OwnDevice::addresses(Family::kIPv4)->empty());
  });
}

TEST(OwnDevice, NothingIsLeftOfIt) {
  on_a_node([] {
    const std::string before = run({"ip", "-br", "link"}) + run({"ip", "route", "show", "table", "all"});
    ASSERT_TRUE(OwnDevice::remove()) << "there is none";
    ASSERT_TRUE(OwnDevice::ensure());
    OwnDevice device;
    ASSERT_TRUE(device.replace(Family::kIPv4, kFour));
    ASSERT_TRUE(device.replace(Family::kIPv6, kSix));
    ASSERT_TRUE(OwnDevice::remove());
    EXPECT_EQ(run({"ip", "-br", "link"}) + run({"ip", "route", "show", "table", "all"}), before);
    EXPECT_FALSE(*OwnDevice::intact());
    EXPECT_EQ(*OwnDevice{}.follow(), 0) << "nothing is wanted: none is made";
    EXPECT_FALSE(*sys::link_exists("sluice0"));
  });
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
