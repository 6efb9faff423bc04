// SPDX-License-Identifier: Apache-2.0
#include "sys/links.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "base/ip_literals.h"
#include "sys/netns.h"
#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Two namespaces; bodies run in the first. Their links end with them.
class LinksTest : public testing::Test {
 protected:
  LinksTest() : here_(fmt::format("slt{}-here", ::getpid())), there_(fmt::format("slt{}-there", ::getpid())) {
    EXPECT_TRUE(add_netns(here_));
    EXPECT_TRUE(add_netns(there_));
  }
  ~LinksTest() override {
    (void)remove_netns(here_);
    (void)remove_netns(there_);
  }
  void inside(const std::function<void()>& body) {
    const auto ran = in_netns(here_, [&]() -> Result<> {
      body();
      return {};
    });
    ASSERT_TRUE(ran) << ran.error().what;
  }
  [[nodiscard]] VethPair pair() const { return {.name = "v0", .peer = "v1", .peer_netns = there_}; }
  static MacAddress mac_of(const std::string& link) {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    link.copy(request.ifr_name, IFNAMSIZ - 1);
    EXPECT_EQ(::ioctl(socket.get(), SIOCGIFHWADDR, &request), 0);
    MacAddress mac{};
    std::memcpy(mac.data(), request.ifr_hwaddr.sa_data, mac.size());
    return mac;
  }
  static std::string file(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::string here_;
  std::string there_;
};

TEST_F(LinksTest, AVethHasItsPeerInTheOtherNamespace) {
  inside([this] {
    const auto added = add_veth(pair());
    ASSERT_TRUE(added) << added.error().what;
    EXPECT_THAT(*list_links(), ElementsAre("lo", "v0"));
    EXPECT_TRUE(*link_exists("v0"));
    EXPECT_FALSE(*link_exists("v1"));
  });
  ASSERT_TRUE(in_netns(there_, []() -> Result<> {
    EXPECT_TRUE(*link_exists("v1"));
    return {};
  }));
}

TEST_F(LinksTest, RemovingIsIdempotentAndTakesThePeerToo) {
  inside([this] {
    ASSERT_TRUE(add_veth(pair()));
    ASSERT_TRUE(remove_link("v0"));
    EXPECT_THAT(*list_links(), ElementsAre("lo"));
    EXPECT_TRUE(remove_link("v0"));
  });
  ASSERT_TRUE(in_netns(there_, []() -> Result<> {
    EXPECT_THAT(*list_links(), ElementsAre("lo"));
    return {};
  }));
}

TEST_F(LinksTest, ErrorsNameTheObjectAndTheirKind) {
  inside([this] {
    ASSERT_TRUE(add_veth(pair()));
    const auto twice = add_veth(pair());
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.error().code, Errc::kAlreadyExists);
    EXPECT_THAT(twice.error().what, HasSubstr("v0"));
    const auto absent = set_up("absent");
    ASSERT_FALSE(absent);
    EXPECT_EQ(absent.error().code, Errc::kNotFound);
    const auto long_name = add_bridge("sixteen-letters-");
    ASSERT_FALSE(long_name);
    EXPECT_EQ(long_name.error().code, Errc::kInvalid);
    EXPECT_FALSE(add_route({.destination = *Cidr::parse("10.0.0.0/8"), .gateway = ip("192.0.2.1"), .link = ""}))
        << "the gateway is not reachable";
  });
}

TEST_F(LinksTest, ABridgeAcceptsLinks) {
  inside([this] {
    ASSERT_TRUE(add_bridge("br0"));
    ASSERT_TRUE(add_veth(pair()));
    ASSERT_TRUE(set_master("v0", "br0"));
    ASSERT_TRUE(set_up("br0"));
    ASSERT_TRUE(set_up("v0"));
    // /proc/net/dev_mcast and sysfs show another namespace's view; the bridge refuses a second master, which proves the
    // first.
    ASSERT_TRUE(add_bridge("br1"));
    EXPECT_TRUE(set_master("v0", "br1")) << "a link may move from one bridge to another";
    EXPECT_FALSE(set_master("br0", "br1")) << "a bridge cannot be in a bridge";
  });
}

TEST_F(LinksTest, AddressesAreUsableAtOnceInBothFamilies) {
  inside([this] {
    ASSERT_TRUE(add_veth(pair()));
    ASSERT_TRUE(set_up("v0"));
    ASSERT_TRUE(add_address("v0", ip("192.0.2.1"), 24));
    ASSERT_TRUE(add_address("v0", ip("2001:db8::1"), 64));
    EXPECT_THAT(file("/proc/thread-self/net/fib_trie"), HasSubstr("192.0.2.1"));
    // Columns: address, index, prefix length, scope, flags (IFA_F_TENTATIVE would be 40), link.
    EXPECT_THAT(file("/proc/thread-self/net/if_inet6"),
                testing::ContainsRegex("20010db8000000000000000000000001 [0-9a-f]+ 40 00 82 +v0"));
    const auto twice = add_address("v0", ip("192.0.2.1"), 24);
    ASSERT_FALSE(twice);
    EXPECT_EQ(twice.error().code, Errc::kAlreadyExists);
  });
}

TEST_F(LinksTest, RoutesGoOnLinkOrThroughAGateway) {
  inside([this] {
    ASSERT_TRUE(add_veth(pair()));
    ASSERT_TRUE(set_up("lo"));
    ASSERT_TRUE(set_up("v0"));
    ASSERT_TRUE(add_address("v0", ip("10.0.0.1"), 32));
    ASSERT_TRUE(add_route({.destination = *Cidr::parse("169.254.1.1/32"), .gateway = {}, .link = "v0"}));
    const auto through =
        add_route({.destination = *Cidr::parse("0.0.0.0/0"), .gateway = ip("169.254.1.1"), .link = ""});
    ASSERT_TRUE(through) << through.error().what;
    // Interface, destination, gateway, flags (UP 1, GATEWAY 2, HOST 4), in the CPU's byte order.
    EXPECT_THAT(file("/proc/thread-self/net/route"), HasSubstr("v0\t00000000\t0101FEA9\t0003"));
    EXPECT_THAT(file("/proc/thread-self/net/route"), HasSubstr("v0\t0101FEA9\t00000000\t0005"));
    ASSERT_TRUE(add_route({.destination = *Cidr::parse("::/0"), .gateway = ip("fe80::1"), .link = "v0"}));
    EXPECT_THAT(file("/proc/thread-self/net/ipv6_route"), HasSubstr("fe800000000000000000000000000001 "));
  });
}

TEST_F(LinksTest, ANeighbourIsPermanent) {
  inside([this] {
    ASSERT_TRUE(add_veth(pair()));
    ASSERT_TRUE(set_up("v0"));
    ASSERT_TRUE(add_neighbour("v0", ip("169.254.1.1"), {2, 0, 0, 0, 0, 7}));
    // Flags: ATF_COM 2 | ATF_PERM 4.
    EXPECT_THAT(file("/proc/thread-self/net/arp"), testing::ContainsRegex("169.254.1.1 +0x1 +0x6 +02:00:00:00:00:07"));
    EXPECT_TRUE(add_neighbour("v0", ip("fe80::1"), {2, 0, 0, 0, 0, 7}));
  });
}

TEST_F(LinksTest, MacAddressesAreAsAskedOnBothEnds) {
  VethPair wanted = pair();
  wanted.mac = {0xee, 0xee, 0xee, 0xee, 0xee, 0xee};
  wanted.peer_mac = {2, 0, 0, 0, 0, 9};
  inside([&] {
    ASSERT_TRUE(add_veth(wanted));
    EXPECT_EQ(mac_of("v0"), wanted.mac);
  });
  ASSERT_TRUE(in_netns(there_, [&]() -> Result<> {
    EXPECT_EQ(mac_of("v1"), wanted.peer_mac);
    return {};
  }));
}

TEST_F(LinksTest, ALinkRunsOnceBothEndsAreUp) {
  inside([this] {
    ASSERT_TRUE(add_veth(pair()));
    ASSERT_TRUE(set_up("v0"));
    EXPECT_FALSE(*link_running("v0"));
  });
  ASSERT_TRUE(in_netns(there_, []() -> Result<> { return set_up("v1"); }));
  inside([] {
    bool running = false;
    for (int i = 0; i < 60000 && !running; ++i) {
      running = *link_running("v0");
      if (!running) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(running);
    EXPECT_FALSE(link_running("absent"));
  });
}

TEST(LinkStates, AreThoseOfAPairInOneNamespace) {
  in_fresh_netns([] {
    ASSERT_TRUE(add_veth(
        {.name = "one0", .peer = "other0", .peer_netns = {}, .mac = MacAddress{2, 0, 0, 0, 0, 9}, .peer_mac = {}}));
    ASSERT_TRUE(set_mtu("one0", 1400));
    ASSERT_TRUE(set_up("one0"));
    ASSERT_TRUE(set_without_neighbours("other0"));
    const auto states = list_link_states();
    ASSERT_TRUE(states) << states.error().what;
    const auto state_of = [&](const std::string& name) {
      for (const LinkState& state : *states) {
        if (state.name == name) return state;
      }
      ADD_FAILURE() << "no " << name;
      return LinkState{};
    };
    EXPECT_TRUE(state_of("lo").loopback);
    EXPECT_EQ(state_of("one0"), (LinkState{.name = "one0",
                                           .index = state_of("one0").index,
                                           .mtu = 1400,
                                           .up = true,
                                           .loopback = false,
                                           .without_neighbours = false,
                                           .mac = MacAddress{2, 0, 0, 0, 0, 9},
                                           .bridge = 0}));
    EXPECT_NE(state_of("one0").index, 0);
    EXPECT_TRUE(state_of("other0").without_neighbours);
    EXPECT_FALSE(state_of("other0").up);
  });
}

TEST(LinkStates, NameTheBridgeOfAPort) {
  in_fresh_netns([] {
    ASSERT_TRUE(add_veth({.name = "one0", .peer = "other0", .peer_netns = {}, .mac = {}, .peer_mac = {}}));
    ASSERT_TRUE(add_bridge("bridge0"));
    ASSERT_TRUE(set_master("one0", "bridge0"));
    const auto states = list_link_states();
    ASSERT_TRUE(states) << states.error().what;
    std::map<std::string, LinkState> found;
    for (const LinkState& state : *states) found.emplace(state.name, state);
    EXPECT_NE(found.at("one0").bridge, 0);
    EXPECT_EQ(found.at("one0").bridge, found.at("bridge0").index);
    EXPECT_EQ(found.at("other0").bridge, 0);
    EXPECT_EQ(found.at("bridge0").bridge, 0);
  });
}

}  // namespace
}  // namespace sluice::sys
