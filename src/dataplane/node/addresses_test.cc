// SPDX-License-Identifier: Apache-2.0
#include "dataplane/node/addresses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/ip_literals.h"

namespace sluice::dataplane::node {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::vector<sys::InterfaceAddress> kListed{
    {"lo", ip("127.0.0.1"), 8},       {"eth0", ip("192.0.2.7"), 24},     {"eth1", ip("198.51.100.129"), 25},
    {"tun0", ip("203.0.113.0"), 31},  {"cni0", ip("10.244.1.1"), 32},    {"kube-ipvs0", ip("10.96.0.1"), 32},
    {"eth0", ip("2001:db8::7"), 64},  {"eth0", ip("fe80::1"), 64},       {"lo", ip("::1"), 128},
    {"veth1", ip("169.254.1.1"), 32}, {"kube-ipvs0", ip("fd00::1"), 128}};

NodeAddresses of(Family family, bool localhost = false, const NodePortAddresses& node_ports = {}) {
  return node_addresses(family, {node_ports, localhost}, kListed, {ip("192.0.2.1")});
}

TEST(NodeAddresses, AddressesOfServicesAreNotTheNodes) {
  for (const auto& entry : own_addresses(kListed)) EXPECT_NE(entry.interface, "kube-ipvs0");
  EXPECT_EQ(own_addresses(kListed).size(), kListed.size() - 2);
  EXPECT_FALSE(of(Family::kIPv4).own.contains(ip("10.96.0.1")));
}

TEST(NodeAddresses, TheKernelsOwnOnTheDeviceAreNotOurs) {
  EXPECT_TRUE(is_bound_address({kServiceDevice, ip("10.96.0.1"), 32}));
  EXPECT_TRUE(is_bound_address({kServiceDevice, ip("169.254.20.10"), 32})) << "no kernel gives itself one";
  EXPECT_FALSE(is_bound_address({kServiceDevice, ip("fe80::1"), 64}));
  EXPECT_FALSE(is_bound_address({kServiceDevice, ip("127.0.0.1"), 8}));
  EXPECT_FALSE(is_bound_address({"eth0", ip("10.96.0.1"), 32}));
}

TEST(NodeAddresses, NodePortsAreServedOnAllOrTheChosenOnes) {
  EXPECT_THAT(of(Family::kIPv4).node_ports, ElementsAre(ip("10.244.1.1"), ip("169.254.1.1"), ip("192.0.2.7"),
                                                        ip("198.51.100.129"), ip("203.0.113.0")));
  EXPECT_THAT(of(Family::kIPv4, true).node_ports, testing::Contains(ip("127.0.0.1")));
  EXPECT_THAT(of(Family::kIPv4, true, {false, {ip("192.0.2.7"), ip("192.0.2.9")}}).node_ports,
              ElementsAre(ip("192.0.2.7")));
  EXPECT_THAT(of(Family::kIPv6).node_ports, ElementsAre(ip("2001:db8::7")));
}

TEST(NodeAddresses, WhatTheNodeNeedsItselfIsNotBound) {
  const struct {
    const char* address;
    const char* why;
  } rows[] = {
      {"192.0.2.7", "192.0.2.7 is an address of this node (eth0)"},
      {"10.244.1.1", "10.244.1.1 is an address of this node (cni0)"},
      {"192.0.2.255", "192.0.2.255 is the broadcast address of a network of this node (eth0)"},
      {"198.51.100.255", "198.51.100.255 is the broadcast address of a network of this node (eth1)"},
      {"192.0.2.1", "192.0.2.1 is a gateway of this node's routes"},
      {"192.0.2.8", nullptr},
      {"198.51.100.127", nullptr},  // another network's
      {"203.0.113.1", nullptr},     // a /31 has no broadcast address
      {"10.96.0.1", nullptr},
      {"2001:db8::ffff:ffff:ffff:ffff", nullptr},  // IPv6 knows none
  };
  for (const auto& row : rows) {
    const auto family = ip(row.address).family();
    const auto why = why_not_to_bind(ip(row.address), of(family));
    EXPECT_EQ(why.value_or(""), row.why == nullptr ? "" : row.why) << row.address;
  }
}

TEST(NodeAddresses, TheInterfaceMakesNoDifferenceButTheNetworkDoes) {
  std::vector<sys::InterfaceAddress> moved = kListed;
  moved[1].interface = "bond0";
  const auto with = [](const std::vector<sys::InterfaceAddress>& listed) {
    return node_addresses(Family::kIPv4, {}, listed, {});
  };
  EXPECT_TRUE(same(with(kListed), with(moved)));
  moved[1].prefix_length = 23;
  EXPECT_FALSE(same(with(kListed), with(moved)));
  EXPECT_THAT(with({}).broadcasts, IsEmpty());
}

}  // namespace
}  // namespace sluice::dataplane::node
