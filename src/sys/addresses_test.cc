// SPDX-License-Identifier: Apache-2.0
#include "sys/addresses.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "sys/test_netns.h"

namespace sluice::sys {

void PrintTo(const InterfaceAddress& address, std::ostream* out) {
  *out << address.interface << " " << address.address.to_string() << "/" << address.prefix_length;
}

namespace {

InterfaceAddress row(const char* interface, const char* address, unsigned prefix_length) {
  return {interface, *IpAddress::parse(address), prefix_length};
}

TEST(ListAddresses, ReturnsBothFamiliesOfEveryInterface) {
  in_fresh_netns([] {
    ASSERT_EQ(
        std::system("ip link set lo up && ip link add eth0 type bridge && ip addr add 192.0.2.1/24 dev eth0 && "
                    "ip addr add 192.0.2.77/32 dev eth0 label eth0:1 && ip -6 addr add 2001:db8::1/64 dev eth0 nodad"),
        0);
    const auto addresses = list_addresses();
    ASSERT_TRUE(addresses) << addresses.error().what;
    EXPECT_THAT(*addresses, testing::UnorderedElementsAre(row("lo", "127.0.0.1", 8), row("lo", "::1", 128),
                                                          row("eth0", "192.0.2.1", 24), row("eth0", "192.0.2.77", 32),
                                                          row("eth0", "2001:db8::1", 64)));
  });
}

TEST(ListAddresses, ReturnsItsOwnAddressOfAPointToPointLinkNotThePeers) {
  in_fresh_netns([] {
    ASSERT_EQ(std::system("ip link add p2p type bridge && ip addr add 192.0.2.1 peer 198.51.100.1/32 dev p2p"), 0);
    const auto addresses = list_addresses();
    ASSERT_TRUE(addresses) << addresses.error().what;
    EXPECT_THAT(*addresses, testing::ElementsAre(row("p2p", "192.0.2.1", 32)));
  });
}

TEST(ListAddresses, AnEmptyNamespaceHasNone) {
  in_fresh_netns([] {
    const auto addresses = list_addresses();
    ASSERT_TRUE(addresses) << addresses.error().what;
    EXPECT_TRUE(addresses->empty());
  });
}

TEST(ListAddresses, ReadsAListOfManyBuffers) {
  in_fresh_netns([] {
    std::string batch = "link add eth0 type bridge\n";
    for (int i = 0; i < 2000; ++i) batch += fmt::format("addr add 10.1.{}.{}/32 dev eth0\n", i / 200, 1 + i % 200);
    FILE* ip = ::popen("ip -batch -", "w");
    ASSERT_NE(ip, nullptr);
    std::fputs(batch.c_str(), ip);
    ASSERT_EQ(::pclose(ip), 0);
    const auto addresses = list_addresses();
    ASSERT_TRUE(addresses) << addresses.error().what;
    EXPECT_EQ(addresses->size(), 2000u);
  });
}

}  // namespace
}  // namespace sluice::sys
