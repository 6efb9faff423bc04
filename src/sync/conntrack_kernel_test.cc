// SPDX-License-Identifier: Apache-2.0
// End to end in the real kernel: a client that keeps its UDP socket, rules that translate its packets, and the
// clean-up that makes it change over. Each test has a network namespace of its own. The names E30 and E31 are
// Kubernetes' own end-to-end tests.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "plan/frontends.h"
#include "sync/conntrack_cleaner.h"
#include "sync/settings.h"
#include "sys/test_netns.h"

namespace sluice::sync {
namespace {

template <typename Body>
void in_service_network(Body body) {
  in_fresh_netns([&body] {
    // 10.1.0.1 and 10.1.0.2 are pods, 10.1.9.9 is the client, 10.96.0.0/16 is where Services are; 192.0.2.1 is the
    // node's address.
    ASSERT_EQ(
        std::system(
            "ip link set lo up && for a in 10.1.0.1 10.1.0.2 10.1.9.9 192.0.2.1; do ip addr add $a/32 dev lo; done && "
            "ip route add 10.96.0.0/16 dev lo src 10.1.9.9 && nft 'add table ip t; "
            "add chain ip t out { type nat hook output priority -100; }; "
            "add chain ip t track { type filter hook output priority 0; }; add rule ip t track ct state new counter'"),
        0);
    body();
  });
}

sockaddr_in socket_address(const std::string& address, std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &result.sin_addr);
  return result;
}

class UdpSocket {
 public:
  UdpSocket(const std::string& address, std::uint16_t port) : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    const sockaddr_in own = socket_address(address, port);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own), 0) << std::strerror(errno);
  }
  void send(const std::string& address, std::uint16_t port, const std::string& text) {
    const sockaddr_in to = socket_address(address, port);
    EXPECT_EQ(::sendto(fd_.get(), text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&to), sizeof to),
              static_cast<ssize_t>(text.size()))
        << std::strerror(errno);
  }
  // What arrived; "" if nothing does in 5 s. On loopback a packet has arrived when sendto() returns.
  std::string receive() {
    pollfd wait{fd_.get(), POLLIN, 0};
    if (::poll(&wait, 1, 5000) != 1) return {};
    char buffer[64];
    const ssize_t length = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    return length < 0 ? std::string() : std::string(buffer, static_cast<std::size_t>(length));
  }

 private:
  UniqueFd fd_;
};

plan::ServicePortPlanPtr dns(const std::vector<std::string>& pods) {
  plan::PortDraft port;
  port.key = {{"kube-system", "dns"}, "dns", Protocol::kUdp, Family::kIPv4};
  port.cluster_ip = *IpAddress::parse("10.96.0.10");
  port.port = 53;
  port.node_port = 30053;
  for (const std::string& pod : pods) port.serving.push_back({*IpAddress::parse(pod), 5353});
  return std::make_shared<plan::ServicePortPlan>(plan::finish(std::move(port), {}));
}

// What a data plane would write for it.
void translate(const std::string& to) {
  const std::string rule = to.empty() ? ""
                                      : fmt::format(
                                            "; add rule ip t out ip daddr 10.96.0.10 udp dport 53 dnat to {0}:5353; "
                                            "add rule ip t out ip daddr 192.0.2.1 udp dport 30053 dnat to {0}:5353",
                                            to);
  ASSERT_EQ(std::system(fmt::format("nft 'flush chain ip t out{}'", rule).c_str()), 0);
}

std::size_t clean(const plan::ServicePortPlanPtr& before, const plan::ServicePortPlanPtr& after) {
  const LoopHooks kernel = kernel_hooks();
  ConntrackCleaner cleaner;
  cleaner.note({nullptr, before});
  cleaner.note({before, after});
  const auto stale = cleaner.stale_after({{before, after}}, [&kernel]() -> NodePortScope {
    const auto addresses = kernel.local_addresses();
    EXPECT_TRUE(addresses) << addresses.error().what;
    return std::set<IpAddress>(addresses->begin(), addresses->end());
  });
  if (!stale) return 0;
  const auto deleted = kernel.delete_udp_flows(Family::kIPv4, std::cref(*stale));
  EXPECT_TRUE(deleted) << deleted.error().what;
  return deleted ? *deleted : 0;
}

TEST(ConntrackKernel, AClientThatKeepsItsSocketReachesTheNewPodAfterTheOldOneIsGone) {  // E30
  for (const auto& service : {std::pair{"10.96.0.10", std::uint16_t{53}}, {"192.0.2.1", std::uint16_t{30053}}}) {
    SCOPED_TRACE(service.first);
    in_service_network([service] {
      const auto& [address, port] = service;
      UdpSocket first("10.1.0.1", 5353);
      UdpSocket second("10.1.0.2", 5353);
      UdpSocket client("10.1.9.9", 40000);
      translate("10.1.0.1");
      client.send(address, port, "one");
      ASSERT_EQ(first.receive(), "one");

      translate("10.1.0.2");
      client.send(address, port, "two");
      ASSERT_EQ(first.receive(), "two") << "the kernel no longer consults the rules: this is why there is a clean-up";
      EXPECT_EQ(clean(dns({"10.1.0.1"}), dns({"10.1.0.2"})), 1u);
      client.send(address, port, "three");
      EXPECT_EQ(second.receive(), "three");
    });
  }
}

TEST(ConntrackKernel, EarlyPacketsDoNotBlackHoleLaterOnes) {  // E31
  in_service_network([] {
    UdpSocket pod("10.1.0.1", 5353);
    UdpSocket client("10.1.9.9", 40000);
    client.send("10.96.0.10", 53, "early");
    translate("10.1.0.1");
    EXPECT_EQ(clean(dns({}), dns({"10.1.0.1"})), 1u);
    client.send("10.96.0.10", 53, "late");
    EXPECT_EQ(pod.receive(), "late");
  });
}

TEST(ConntrackKernel, FlowsOfOthersStay) {
  in_service_network([] {
    UdpSocket first("10.1.0.1", 5353);
    UdpSocket second("10.1.0.2", 5353);
    UdpSocket stale_client("10.1.9.9", 40000);
    UdpSocket good_client("10.1.9.9", 40001);
    translate("10.1.0.1");
    stale_client.send("10.96.0.10", 53, "stale");
    translate("10.1.0.2");
    good_client.send("10.96.0.10", 53, "good");
    good_client.send("10.1.0.1", 5353, "straight");
    good_client.send("10.96.7.7", 30053, "another host's node port");
    // A TCP connection to the pod that is removed: the pod itself will end it.
    ASSERT_EQ(
        std::system("conntrack -I -p tcp -s 10.1.9.9 -d 10.96.0.10 --sport 40002 --dport 53 -r 10.1.0.1 -q 10.1.9.9 "
                    "--reply-port-src 5353 --reply-port-dst 40002 --state ESTABLISHED --timeout 300 2>/dev/null"),
        0);
    EXPECT_EQ(clean(dns({"10.1.0.1", "10.1.0.2"}), dns({"10.1.0.2"})), 1u);
    EXPECT_EQ(std::system("test $(conntrack -C) -eq 4"), 0);
    EXPECT_NE(std::system("conntrack -L 2>/dev/null | grep -q sport=40000"), 0);
  });
}

TEST(ConntrackKernel, ADeletedServiceLosesTheFlowsToItsPods) {
  in_service_network([] {
    UdpSocket pod("10.1.0.1", 5353);
    UdpSocket client("10.1.9.9", 40000);
    translate("10.1.0.1");
    client.send("10.96.0.10", 53, "one");
    ASSERT_EQ(pod.receive(), "one");
    translate("");
    EXPECT_EQ(clean(dns({"10.1.0.1"}), nullptr), 1u);
    EXPECT_EQ(std::system("test $(conntrack -C) -eq 0"), 0);
  });
}

}  // namespace
}  // namespace sluice::sync
