// SPDX-License-Identifier: Apache-2.0
#include "view/served.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "view/test_status.h"

namespace sluice::view {
namespace {

using plan::FrontendKind;
using testing::ElementsAre;

std::vector<std::string> addresses_of(const ServedPort& port) {
  std::vector<std::string> addresses;
  for (const ServedAddress& each : port.addresses) addresses.push_back(each.address);
  return addresses;
}

TEST(ServedPort, EveryKindOfFrontendIsAnAddress) {
  plan::PortDraft port = web_port();
  port.key.port_name = "";
  port.external_ips = {*IpAddress::parse("192.0.2.1")};
  port.load_balancer_ips = {*IpAddress::parse("203.0.113.1")};
  const ServedPort served = served_port(plan::finish(port, {}), {});
  EXPECT_EQ(served.name, "default/web");
  EXPECT_THAT(addresses_of(served), ElementsAre("10.104.247.10:80", "192.0.2.1:80", "203.0.113.1:80", "*:31947"));
}

TEST(ServedPort, ADuplicateAddressIsListedOnceWithBothKinds) {
  plan::PortDraft port = web_port();
  port.external_ips = {*IpAddress::parse("192.0.2.1"), *IpAddress::parse("192.0.2.1")};
  port.load_balancer_ips = {*IpAddress::parse("192.0.2.1")};
  const ServedPort served = served_port(plan::finish(port, {}), {});
  EXPECT_THAT(addresses_of(served), ElementsAre("10.104.247.10:80", "192.0.2.1:80", "*:31947"));
  EXPECT_THAT(served.addresses[1].kinds, ElementsAre(FrontendKind::kExternalIp, FrontendKind::kLoadBalancerIp));
}

TEST(ServedPort, OnlyTheRefusedAddressOfTheRefusedPortIsMarked) {
  plan::PortDraft port = web_port();
  port.external_ips = {*IpAddress::parse("192.0.2.1"), *IpAddress::parse("192.0.2.2")};
  plan::ServicePortKey other = port.key;
  other.port_name = "https";
  const std::vector<dataplane::Refusal> refusals = {{port.key, refused(port.external_ips[1]), "it is the node's"},
                                                    {other, refused(port.external_ips[0]), "it is the node's"}};
  const ServedPort served = served_port(plan::finish(port, {}), refusals);
  EXPECT_EQ(served.addresses[1].refused, "");
  EXPECT_EQ(served.addresses[2].refused, "it is the node's");
  EXPECT_EQ(served.addresses[3].refused, "") << "a node port has no address of its own";
}

TEST(ServedPort, WhatThePlanRefusesIsListedWithItsReason) {
  plan::PortDraft port = web_port();
  port.external_ips = {*IpAddress::parse("192.0.2.1"), *IpAddress::parse("224.0.0.1")};
  const ServedPort served = served_port(plan::finish(port, {}), {});
  EXPECT_THAT(addresses_of(served), ElementsAre("10.104.247.10:80", "192.0.2.1:80", "*:31947", "224.0.0.1:80"));
  EXPECT_EQ(served.addresses[1].refused, "");
  EXPECT_EQ(served.addresses[3].refused, "224.0.0.1 is a multicast address");
}

}  // namespace
}  // namespace sluice::view
