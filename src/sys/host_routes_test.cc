// SPDX-License-Identifier: Apache-2.0
#include "sys/host_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/ip_literals.h"
#include "sys/links.h"
#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

const RouteOwner kOwner{"routed0", 183};

// In a namespace with the link routed0, which is up, and another one with addresses and the default routes.
template <typename Body>
void with_routed_link(Body body) {
  in_fresh_netns([&] {
    ASSERT_TRUE(add_bridge(kOwner.link));
    ASSERT_TRUE(set_up(kOwner.link));
    run({"ip", "-batch", "-"},
        "link add other0 type bridge\n"
        "address add 192.168.7.1/24 dev other0\n"
        "address add fd07::1/64 dev other0 nodad\n"
        "link set other0 up\n"
        "route add default via 192.168.7.254\n"
        "route add default via fd07::fe\n");
    body();
  });
}

std::set<HostRoute> routes_of(const RouteOwner& owner, Family family) {
  const auto listed = list_host_routes(owner, family);
  EXPECT_TRUE(listed) << listed.error().what;
  return {listed->begin(), listed->end()};
}

TEST(HostRoutes, FiveThousandAreAddedListedAndRemoved) {
  with_routed_link([] {
    std::vector<HostRoute> routes;
    std::vector<IpAddress> destinations;
    for (std::uint32_t i = 1; i <= 5000; ++i) {
      destinations.push_back(IpAddress::from_v4(0x0a600000 + i));
      routes.push_back({destinations.back(), ip("192.168.7.1")});
    }
    const auto added = add_host_routes(kOwner, routes);
    ASSERT_TRUE(added) << added.error().what;
    EXPECT_TRUE(added->empty()) << added->front().error.what;
    EXPECT_EQ(routes_of(kOwner, Family::kIPv4), std::set<HostRoute>(routes.begin(), routes.end()));
    EXPECT_THAT(routes_of(kOwner, Family::kIPv6), IsEmpty());
    const auto removed = remove_host_routes(kOwner, destinations);
    ASSERT_TRUE(removed) << removed.error().what;
    EXPECT_TRUE(removed->empty()) << removed->front().error.what;
    EXPECT_THAT(routes_of(kOwner, Family::kIPv4), IsEmpty());
  });
}

TEST(HostRoutes, BothFamiliesAreSeenByTheNodesOwnPackets) {
  with_routed_link([] {
    const std::vector<HostRoute> both{{ip("10.96.0.1"), ip("192.168.7.1")}, {ip("fd00:10:96::1"), ip("fd07::1")}};
    const auto added = add_host_routes(kOwner, both);
    ASSERT_TRUE(added && added->empty());
    EXPECT_EQ(routes_of(kOwner, Family::kIPv6), (std::set<HostRoute>{both[1]}));
    EXPECT_THAT(run({"ip", "route", "get", "10.96.0.1"}), HasSubstr("dev routed0 src 192.168.7.1"));
    for (const HostRoute& each : both) EXPECT_TRUE(*leads_to("routed0", each.destination));
    EXPECT_FALSE(*leads_to("routed0", ip("10.96.0.2")));
    EXPECT_FALSE(*leads_to("nolink0", ip("10.96.0.2")));
    EXPECT_THAT(run({"ip", "route", "get", "fd00:10:96::1"}), HasSubstr("src fd07::1"));
    const std::vector<IpAddress> destinations{both[0].destination, both[1].destination};
    const auto removed = remove_host_routes(kOwner, destinations);
    ASSERT_TRUE(removed && removed->empty());
    EXPECT_THAT(run({"ip", "route", "get", "10.96.0.1"}), HasSubstr("dev other0"));
  });
}

TEST(HostRoutes, OthersAreNeitherReplacedNorRemovedNorListed) {
  with_routed_link([] {
    run({"ip", "route", "add", "10.96.0.1/32", "dev", "routed0"});
    run({"ip", "route", "add", "10.96.0.2/32", "dev", "other0", "proto", "183"});
    EXPECT_THAT(routes_of(kOwner, Family::kIPv4), IsEmpty());
    const std::vector<HostRoute> routes{{ip("10.96.0.1"), {}}, {ip("10.96.0.3"), {}}};
    const auto added = add_host_routes(kOwner, routes);
    ASSERT_TRUE(added);
    ASSERT_EQ(added->size(), 1U);
    EXPECT_EQ(added->front().index, 0U);
    EXPECT_EQ(added->front().error.code, Errc::kAlreadyExists);
    EXPECT_THAT(added->front().error.what, HasSubstr("10.96.0.1"));
    const std::vector<IpAddress> all{ip("10.96.0.1"), ip("10.96.0.2"), ip("10.96.0.3")};
    const auto removed = remove_host_routes(kOwner, all);
    ASSERT_TRUE(removed);
    ASSERT_EQ(removed->size(), 2U);
    EXPECT_EQ(removed->front().error.code, Errc::kNotFound);
    EXPECT_THAT(run({"ip", "route", "show", "10.96.0.1/32"}), HasSubstr("routed0"));
    EXPECT_THAT(run({"ip", "route", "show", "10.96.0.2/32"}), HasSubstr("other0"));
    EXPECT_EQ(run({"ip", "route", "show", "10.96.0.3/32"}), "");
  });
}

TEST(HostRoutes, ASourceThatTheNodeDoesNotHaveIsRefused) {
  with_routed_link([] {
    const std::vector<HostRoute> routes{{ip("10.96.0.1"), ip("192.168.8.8")}, {ip("fd00::1"), ip("fd08::8")}};
    const auto added = add_host_routes(kOwner, routes);
    ASSERT_TRUE(added);
    ASSERT_EQ(added->size(), 2U);
    for (const RouteFailure& failure : *added) EXPECT_EQ(failure.error.code, Errc::kInvalid);
  });
}

TEST(HostRoutes, TheSourceTowardsAnAddressIsTheKernels) {
  with_routed_link([] {
    EXPECT_EQ(*source_towards(ip("203.0.113.1")), ip("192.168.7.1"));
    EXPECT_EQ(*source_towards(ip("2001:db8::1")), ip("fd07::1"));
    run({"ip", "route", "del", "default"});
    run({"ip", "-6", "route", "del", "default"});
    EXPECT_EQ(*source_towards(ip("203.0.113.1")), std::nullopt);
    EXPECT_EQ(*source_towards(ip("2001:db8::1")), std::nullopt);
    EXPECT_EQ(*source_towards(ip("192.168.7.1")), std::nullopt) << "its own";
  });
}

TEST(HostRoutes, WithoutTheLinkThereAreNone) {
  in_fresh_netns([] {
    EXPECT_THAT(routes_of(kOwner, Family::kIPv4), IsEmpty());
    const std::vector<HostRoute> routes{{ip("10.96.0.1"), {}}};
    const auto added = add_host_routes(kOwner, routes);
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, Errc::kNotFound);
  });
}

}  // namespace
}  // namespace sluice::sys
