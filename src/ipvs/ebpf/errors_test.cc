// SPDX-License-Identifier: Apache-2.0
// Refusals, and ICMP errors on their way through the director.
#include <gtest/gtest.h>

#include <thread>

#include "ipvs/ebpf/test_traffic.h"

namespace sluice::ipvs::ebpf {
namespace {

class Errors : public Traffic {
 protected:
  // A client's socket that is connected to the virtual server.
  UniqueFd connected(const FamilyCase& each, const VirtualServerKey& key) {
    UniqueFd client;
    net_.as_client([&] {
      client = bound_socket(SOCK_DGRAM, {ip(each.client), 4001});
      EXPECT_EQ(connect(client, {key.address, key.port}), 0);
    });
    return client;
  }
  // The errno that a socket meets in the end.
  static int error_of(const UniqueFd& fd) {
    char buffer = 0;
    return ::recv(fd.get(), &buffer, 1, 0) < 0 ? errno : 0;
  }
};

TEST_F(Errors, WithoutARealServerClientsAndTheNodeAreRefused) {
  run({"ip", "route", "add", "default", "via", "10.1.0.1"});
  run({"ip", "-6", "route", "add", "default", "via", "fd01::1"});
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const VirtualServerKey tcp = VirtualServerKey::of(Protocol::kTcp, ip(each.virtual_address), 80);
    const VirtualServerKey udp = VirtualServerKey::of(Protocol::kUdp, ip(each.virtual_address), 53);
    serve(tcp, "rr", {});
    serve(udp, "rr", {masqueraded(each.reals[0], 53, 0)});
    net_.as_client([&] {
      const UniqueFd client = bound_socket(SOCK_STREAM, {ip(each.client), 4001});
      EXPECT_EQ(connect(client, {tcp.address, tcp.port}), -ECONNREFUSED);
    });
    const UniqueFd client = connected(each, udp);
    write_text(client, "a question that is longer than eight bytes");
    EXPECT_EQ(error_of(client), ECONNREFUSED);
    const int family = ip(each.client).family() == Family::kIPv4 ? AF_INET : AF_INET6;
    const UniqueFd own(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(own, {tcp.address, tcp.port}), -ECONNREFUSED);
  }
}

TEST_F(Errors, ARealServersRefusalReachesTheClientAsTheVirtualServers) {
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip(each.virtual_address), 53);
    serve(key, "rr", {masqueraded(each.reals[0], 5353)});
    const UniqueFd client = connected(each, key);
    write_text(client, "nobody receives this");
    EXPECT_EQ(error_of(client), ECONNREFUSED);
    EXPECT_EQ(found(key).statistics.totals.packets_out, 1U);
  }
}

TEST_F(Errors, PathMtuDiscoveryWorksThroughTheVirtualServer) {
  run({"ip", "link", "set", "server", "mtu", "1400"});
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const bool v4 = ip(each.client).family() == Family::kIPv4;
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip(each.virtual_address), 53);
    serve(key, "rr", {masqueraded(each.reals[0], 5353)});
    const UniqueFd server = receiver({ip(each.reals[0]), 5353});
    const UniqueFd client = connected(each, key);
    const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
    const int discover = v4 ? IP_PMTUDISC_DO : IPV6_PMTUDISC_DO;
    ASSERT_EQ(::setsockopt(client.get(), level, v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &discover, sizeof discover),
              0);
    const std::string large(1440, 'x');
    ASSERT_EQ(::send(client.get(), large.data(), large.size(), 0), static_cast<ssize_t>(large.size()));
    EXPECT_EQ(error_of(client), EMSGSIZE);
    int mtu = 0;
    socklen_t length = sizeof mtu;
    ASSERT_EQ(::getsockopt(client.get(), level, v4 ? IP_MTU : IPV6_MTU, &mtu, &length), 0);
    EXPECT_EQ(mtu, 1400);
    write_text(client, "small");
    EXPECT_EQ(receive(server).text, "small");
  }
}

// An error about a reply goes to the real server that has sent it.
TEST_F(Errors, AClientsRefusalReachesTheRealServer) {
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip(each.virtual_address), 53);
    serve(key, "rr", {masqueraded(each.reals[0], 5353)});
    const UniqueFd server = receiver({ip(each.reals[0]), 5353});
    TestEnd from;
    {
      const UniqueFd client = connected(each, key);
      write_text(client, "x");
      from = receive(server).from;
    }
    net_.as_server([&] { ASSERT_EQ(connect(server, from), 0); });
    write_text(server, "too late");
    EXPECT_EQ(error_of(server), ECONNREFUSED);
  }
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
