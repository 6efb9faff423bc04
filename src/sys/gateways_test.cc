// SPDX-License-Identifier: Apache-2.0
#include "sys/gateways.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/ip_literals.h"
#include "sys/links.h"
#include "sys/process.h"
#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

template <typename Body>
void with_link(Body body) {
  in_fresh_netns([&] {
    ASSERT_TRUE(add_bridge("gw0"));
    ASSERT_TRUE(set_up("gw0"));
    ASSERT_TRUE(add_address("gw0", ip("192.0.2.1"), 24));
    ASSERT_TRUE(add_address("gw0", ip("2001:db8::1"), 64));
    body();
  });
}

void add_default(std::string_view gateway) {
  const IpAddress address = ip(gateway);
  const Cidr all(address.family() == Family::kIPv4 ? ip("0.0.0.0") : ip("::"), 0);
  const auto added = add_route({.destination = all, .gateway = address, .link = "gw0"});
  ASSERT_TRUE(added) << added.error().what;
}

TEST(Gateways, OnLinkRoutesHaveNoGateway) {
  with_link([] {
    EXPECT_THAT(*list_gateways(Family::kIPv4), IsEmpty());
    EXPECT_THAT(*list_gateways(Family::kIPv6), IsEmpty());
  });
}

TEST(Gateways, ThoseOfRoutesToOtherNodesPodsCount) {
  with_link([] {
    ASSERT_TRUE(add_route({.destination = *Cidr::parse("198.51.100.0/24"), .gateway = ip("192.0.2.9"), .link = ""}));
    add_default("192.0.2.254");
    EXPECT_THAT(*list_gateways(Family::kIPv4), ElementsAre(ip("192.0.2.9"), ip("192.0.2.254")));
  });
}

TEST(Gateways, EachFamilyHasItsOwn) {
  with_link([] {
    add_default("192.0.2.254");
    add_default("2001:db8::fe");
    EXPECT_THAT(*list_gateways(Family::kIPv4), ElementsAre(ip("192.0.2.254")));
    EXPECT_THAT(*list_gateways(Family::kIPv6), ElementsAre(ip("2001:db8::fe")));
  });
}

TEST(Gateways, EveryNextHopOfOneRouteCounts) {
  with_link([] {
    const auto outcome = run_and_collect(
        {"/usr/sbin/ip", "route", "add", "default", "nexthop", "via", "192.0.2.253", "nexthop", "via", "192.0.2.254"},
        "");
    ASSERT_TRUE(outcome) << outcome.error().what;
    ASSERT_EQ(outcome->exit_status, 0) << outcome->error_output;
    EXPECT_THAT(*list_gateways(Family::kIPv4), ElementsAre(ip("192.0.2.253"), ip("192.0.2.254")));
  });
}

}  // namespace
}  // namespace sluice::sys
