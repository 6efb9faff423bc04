// SPDX-License-Identifier: Apache-2.0
// Service of packets that are seen where they leave: the node's own, and those that were routed to sluice0.
#include <gtest/gtest.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <chrono>
#include <thread>

#include "ipvs/ebpf/test_traffic.h"
#include "sys/sysctl.h"

namespace sluice::ipvs::ebpf {
namespace {

void switch_feature(const std::string& device, std::uint32_t what, bool on) {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  device.copy(request.ifr_name, sizeof request.ifr_name - 1);
  ethtool_value value{what, on ? 1U : 0U};
  request.ifr_data = reinterpret_cast<char*>(&value);
  EXPECT_EQ(::ioctl(fd.get(), SIOCETHTOOL, &request), 0) << device << ": " << std::strerror(errno);
}

// Its counters of sent packets.
std::string sent_by(const std::string& device) {
  const std::string shown = run({"ip", "-s", "-j", "link", "show", "dev", device});
  const std::size_t begin = shown.find(R"("tx":)");
  EXPECT_NE(begin, std::string::npos) << shown;
  return begin == std::string::npos ? "" : shown.substr(begin);
}

class Late : public Traffic {
 protected:
  void SetUp() override {
    Traffic::SetUp();
    run({"sysctl", "-qw", "net.ipv4.conf.lo.accept_local=1"});
  }

  // Leads them to sluice0.
  void lead(const std::vector<const char*>& addresses) {
    std::vector<IpAddress> all[2];
    for (const char* each : addresses) {
      const IpAddress address = ip(each);
      all[address.family() == Family::kIPv4 ? 0 : 1].push_back(address);
    }
    for (const Family family : {Family::kIPv4, Family::kIPv6}) {
      RuleElements elements;
      elements.addresses = all[family == Family::kIPv4 ? 0 : 1];
      const auto written = engine_->service_rules()->replace({.family = family}, elements);
      ASSERT_TRUE(written) << written.error().what;
    }
  }

  static void set(const std::string& name, const std::string& value) {
    const auto written = sys::ensure_sysctl(name, value);
    EXPECT_TRUE(written) << written.error().what;
  }

  static UniqueFd own_socket(int type, const IpAddress& like) {
    return bound_socket(type, {like.family() == Family::kIPv4 ? ip("0.0.0.0") : ip("::"), 0});
  }

  // One round trip from the namespace that the calling thread is in.
  static void exchange(const UniqueFd& client, const UniqueFd& listening, const TestEnd& to) {
    ASSERT_EQ(connect(client, to), 0) << join_host_port(to.address, to.port);
    const Accepted accepted = accept(listening);
    write_text(client, "GET");
    EXPECT_EQ(read_text(accepted.fd, 3), "GET");
    write_text(accepted.fd, "200");
    EXPECT_EQ(read_text(client, 3), "200");
  }
  static void own_exchange(const UniqueFd& listening, const TestEnd& to) {
    exchange(own_socket(SOCK_STREAM, to.address), listening, to);
  }

  // What a datagram there leads to: the errno of the socket.
  static int answer_to_datagram(const TestEnd& to) {
    const UniqueFd fd = own_socket(SOCK_DGRAM, to.address);
    EXPECT_EQ(connect(fd, to), 0);
    EXPECT_EQ(::send(fd.get(), "x", 1, 0), 1);
    char byte = 0;
    return ::recv(fd.get(), &byte, 1, 0) < 0 ? errno : 0;
  }

  static void expect_refusal(const TestEnd& to) {
    EXPECT_EQ(connect(own_socket(SOCK_STREAM, to.address), to), -ECONNREFUSED) << join_host_port(to.address, to.port);
    EXPECT_EQ(answer_to_datagram(to), ECONNREFUSED) << join_host_port(to.address, to.port);
  }
};

TEST_F(Late, TheNodesOwnConnectionsNeedNoRoute) {
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip(each.virtual_address), 80);
    serve(key, "rr", {masqueraded(each.reals[0], 8080)});
  }
  lead({"10.0.0.1", "fd00::1"});
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const UniqueFd listening = listener({ip(each.reals[0]), 8080});
    own_exchange(listening, {ip(each.virtual_address), 80});
  }
}

// However strict the check of sources is, and where the real server's device has no address, as a pod's often has not.
TEST_F(Late, RepliesPassTheCheckOfTheirSource) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  const VirtualServerKey outer = VirtualServerKey::of(Protocol::kTcp, ip("203.0.113.1"), 80);
  serve(key, "rr", {masqueraded("10.2.0.1", 8080)});
  serve(outer, "rr", {masqueraded("10.2.0.1", 8080)});
  lead({"10.0.0.1"});
  run({"ip", "-batch", "-"},
      "route add default via 10.1.0.1\n"
      "address del 10.2.0.254/24 dev server\n"
      "route add 10.2.0.0/24 dev server\n");
  set("net/ipv4/conf/server/proxy_arp", "1");
  net_.at_server({"ip", "route", "add", "10.1.0.254", "dev", "eth0"});
  const UniqueFd listening = listener({ip("10.2.0.1"), 8080});
  for (const char* strictness : {"0", "1", "2"}) {
    SCOPED_TRACE(strictness);
    for (const char* device : {"all", "server", "sluice0", "client"})
      set("net/ipv4/conf/" + std::string(device) + "/rp_filter", strictness);
    own_exchange(listening, {key.address, key.port});
    own_exchange(listening, {outer.address, outer.port});
  }
}

TEST_F(Late, WhatIsNotServedAtAnAddressIsRefused) {
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    serve(VirtualServerKey::of(Protocol::kTcp, ip(each.virtual_address), 80), "rr", {masqueraded(each.reals[0], 8080)});
  }
  lead({"10.0.0.1", "fd00::1"});
  const std::string before = sent_by("sluice0");
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    expect_refusal({ip(each.virtual_address), 81});
    net_.as_client([&] { expect_refusal({ip(each.virtual_address), 81}); });
  }
  EXPECT_EQ(sent_by("sluice0"), before) << "and nothing leaves by the device";
}

// Where the client has computed the segment's, and where it has left that to the devices.
TEST_F(Late, ResetsHaveTheRightChecksum) {
  for (const FamilyCase& each : kFamilyCases)
    serve(VirtualServerKey::of(Protocol::kTcp, ip(each.virtual_address), 80), "rr", {masqueraded(each.reals[0], 8080)});
  lead({"10.0.0.1", "fd00::1"});
  net_.as_client([] { switch_feature("eth0", ETHTOOL_SRXCSUM, false); });
  for (const bool left_to_device : {true, false}) {
    SCOPED_TRACE(left_to_device);
    // The last device before the client: it computes what was left to it.
    switch_feature("client", ETHTOOL_STXCSUM, false);
    switch_feature("client", ETHTOOL_SRXCSUM, false);
    net_.as_client([&] {
      switch_feature("eth0", ETHTOOL_STXCSUM, left_to_device);
      for (const FamilyCase& each : kFamilyCases) {
        const IpAddress address = ip(each.virtual_address);
        EXPECT_EQ(connect(own_socket(SOCK_STREAM, address), {address, 81}), -ECONNREFUSED) << each.name;
      }
    });
  }
}

// A real server that is an address of the node, even the one that the client has, too.
TEST_F(Late, RealServersOfTheNodeItself) {
  for (const auto& [address, real] : {std::pair{"10.0.0.1", "10.2.0.254"}, std::pair{"fd00::1", "fd02::fe"}}) {
    SCOPED_TRACE(address);
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip(address), 443);
    serve(key, "rr", {masqueraded(real, 6443)});
    lead({"10.0.0.1", "fd00::1"});
    const UniqueFd listening = bound_socket(SOCK_STREAM, {ip(real), 6443});
    ASSERT_EQ(::listen(listening.get(), 8), 0);
    own_exchange(listening, {key.address, key.port});
    exchange(bound_socket(SOCK_STREAM, {ip(real), 0}), listening, {key.address, key.port});
    UniqueFd client;
    net_.as_client([&] { client = own_socket(SOCK_STREAM, key.address); });
    exchange(client, listening, {key.address, key.port});
    EXPECT_EQ(found(key).statistics.totals.connections, 3U);
  }
}

TEST_F(Late, ANodePortAtTheNodesOwnAddress) {
  for (const auto& [address, real, local] :
       {std::tuple{"10.1.0.254", "10.2.0.1", "10.2.0.254"}, std::tuple{"fd01::fe", "fd02::1", "fd02::fe"}}) {
    SCOPED_TRACE(address);
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip(address), 30080);
    const VirtualServerKey own_key = VirtualServerKey::of(Protocol::kTcp, ip(address), 30081);
    serve(key, "rr", {masqueraded(real, 8080)});
    serve(own_key, "rr", {masqueraded(local, 6443)});
    const UniqueFd listening = listener({ip(real), 8080});
    own_exchange(listening, {key.address, key.port});
    const UniqueFd own_listening = bound_socket(SOCK_STREAM, {ip(local), 6443});
    ASSERT_EQ(::listen(own_listening.get(), 8), 0);
    own_exchange(own_listening, {own_key.address, own_key.port});
  }
}

// A pod's device that no process has seen yet.
TEST_F(Late, ADeviceThatCameWhileNoProcessLookedIsServed) {
  for (const FamilyCase& each : kFamilyCases)
    serve(VirtualServerKey::of(Protocol::kTcp, ip(each.virtual_address), 80), "rr", {masqueraded(each.reals[0], 8080)});
  lead({"10.0.0.1", "fd00::1"});
  engine_.reset();
  run({"ip", "link", "set", "client", "down"});
  run({"tc", "qdisc", "del", "dev", "client", "clsact"});
  run({"ip", "-batch", "-"},
      "link set client up\n"
      "address replace fd01::fe/64 dev client nodad\n");
  set("net/ipv4/conf/all/rp_filter", "1");
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const UniqueFd listening = listener({ip(each.reals[0]), 8080});
    net_.as_client([&] {
      exchange(bound_socket(SOCK_STREAM, {ip(each.client), 4001}), listening, {ip(each.virtual_address), 80});
      expect_refusal({ip(each.virtual_address), 81});
    });
  }
}

// A table that was lost, or a client that slept longer than its entry lasts.
TEST_F(Late, AClientOfAConnectionThatIsNotKnownIsReset) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  const VirtualServerKey key6 = VirtualServerKey::of(Protocol::kTcp, ip("fd00::1"), 80);
  serve(key, "rr", {masqueraded("10.2.0.1", 8080)});
  serve(key6, "rr", {masqueraded("fd02::1", 8080)});
  // Where a load balancer's address leads to.
  run({"ip", "-batch", "-"}, "route add default via 10.1.0.1\nroute add default via fd01::1\n");
  ASSERT_TRUE(engine_->set_timeouts({1, 0, 0}));
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const UniqueFd listening = listener({ip(each.reals[0]), 8080});
    UniqueFd client;
    net_.as_client([&] {
      client = bound_socket(SOCK_STREAM, {ip(each.client), 4001});
      ASSERT_EQ(connect(client, {ip(each.virtual_address), 80}), 0);
    });
    const Accepted accepted = accept(listening);
    const VirtualServerKey& served = each.client == kFamilyCases[0].client ? key : key6;
    for (int i = 0; i < 400 && found(served).real_servers.at(0).active_connections != 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(25));
    write_text(client, "are you still there?");
    char byte = 0;
    EXPECT_EQ(::recv(client.get(), &byte, 1, 0), -1);
    EXPECT_EQ(errno, ECONNRESET);
  }
}

// A change of mode: the rules of another one, which began the connection, are gone, but nf_conntrack knows it.
TEST_F(Late, AConnectionThatConntrackLeadsGoesOn) {
  run({"nft", "-f", "-"},
      "add table ip before\n"
      "add chain ip before c { type nat hook prerouting priority dstnat; }\n"
      "add rule ip before c ip daddr 10.0.0.1 tcp dport 80 dnat to 10.2.0.1:8080\n"
      "add table ip6 before\n"
      "add chain ip6 before c { type nat hook prerouting priority dstnat; }\n"
      "add rule ip6 before c ip6 daddr fd00::1 tcp dport 80 dnat to [fd02::1]:8080\n"
      // Without a rule that asks for it the kernel would do without nf_conntrack once the others are gone.
      "add table inet holder\n"
      "add chain inet holder c { type filter hook forward priority filter; }\n"
      "add rule inet holder c ct state invalid counter\n");
  std::vector<UniqueFd> clients, listening;
  std::vector<Accepted> servers;
  for (const FamilyCase& each : kFamilyCases) {
    listening.push_back(listener({ip(each.reals[0]), 8080}));
    net_.as_client([&] {
      clients.push_back(bound_socket(SOCK_STREAM, {ip(each.client), 4001}));
      ASSERT_EQ(connect(clients.back(), {ip(each.virtual_address), 80}), 0);
    });
    servers.push_back(accept(listening.back()));
  }
  serve(VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80), "rr", {masqueraded("10.2.0.1", 8080)});
  serve(VirtualServerKey::of(Protocol::kTcp, ip("fd00::1"), 80), "rr", {masqueraded("fd02::1", 8080)});
  run({"nft", "-f", "-"}, "flush table ip before\nflush table ip6 before\n");
  for (std::size_t i = 0; i < clients.size(); ++i) {
    write_text(clients[i], "GET");
    EXPECT_EQ(read_text(servers[i].fd, 3), "GET");
    write_text(servers[i].fd, "200");
    EXPECT_EQ(read_text(clients[i], 3), "200");
  }
}

// A connection of the node's own to elsewhere, from a port that is a virtual server's.
TEST_F(Late, ConnectionsOfTheNodesOwnSocketsAreLeftAlone) {
  const UniqueFd listening = listener({ip("10.2.0.1"), 8080});
  const UniqueFd own = bound_socket(SOCK_STREAM, {ip("10.2.0.254"), 30080});
  ASSERT_EQ(connect(own, {ip("10.2.0.1"), 8080}), 0);
  const Accepted accepted = accept(listening);
  serve(VirtualServerKey::of(Protocol::kTcp, ip("10.2.0.254"), 30080), "rr", {masqueraded("10.2.0.2", 8080)});
  write_text(own, "GET");
  EXPECT_EQ(read_text(accepted.fd, 3), "GET");
  write_text(accepted.fd, "200");
  EXPECT_EQ(read_text(own, 3), "200");
}

// As a device sees them that listens to everybody, or that is part of a bridge.
TEST_F(Late, PacketsForOtherMachinesAreNotServed) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
  serve(key, "rr", {masqueraded("10.2.0.1", 5353)});
  const UniqueFd server = receiver({ip("10.2.0.1"), 5353});
  run({"ip", "link", "set", "client", "promisc", "on"});
  net_.at_client({"ip", "neighbour", "replace", "10.1.0.254", "lladdr", "02:00:00:00:00:99", "dev", "eth0"});
  UniqueFd client;
  net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), 4001}); });
  send_to(client, "for somebody else", {key.address, key.port});
  EXPECT_EQ(found(key).statistics.totals.packets_in, 0U);
  net_.at_client({"ip", "neighbour", "del", "10.1.0.254", "dev", "eth0"});
  send_to(client, "for us", {key.address, key.port});
  EXPECT_EQ(receive(server).text, "for us");
  EXPECT_EQ(found(key).statistics.totals.packets_in, 1U);
}

// Behind a device that takes less than the one that the route to the virtual server leads to.
TEST_F(Late, SegmentsFitTheDeviceOfTheRealServer) {
  constexpr std::size_t kBytes = 300000;
  for (const FamilyCase& each : kFamilyCases) {
    serve(VirtualServerKey::of(Protocol::kTcp, ip(each.virtual_address), 80), "rr", {masqueraded(each.reals[0], 8080)});
  }
  serve(VirtualServerKey::of(Protocol::kTcp, ip("203.0.113.1"), 80), "rr", {masqueraded("10.2.0.1", 8080)});
  serve(VirtualServerKey::of(Protocol::kTcp, ip("2001:db8::80"), 80), "rr", {masqueraded("fd02::1", 8080)});
  run({"ip", "-batch", "-"},
      "link set server mtu 1280\n"
      "route add default via 10.1.0.1\n"
      "route add default via fd01::1\n");
  lead({"10.0.0.1", "fd00::1"});
  // The server says that it takes more, and the device gets segments as they are on a wire.
  net_.at_server({"ip", "link", "set", "eth0", "mtu", "1280"});
  net_.at_server({"ip", "route", "change", "default", "via", "10.2.0.254", "advmss", "1460"});
  net_.at_server({"ip", "-6", "route", "change", "default", "via", "fd02::fe", "advmss", "1440"});
  for (const std::uint32_t what : {ETHTOOL_STSO, ETHTOOL_SGSO}) switch_feature("server", what, false);
  for (const auto& [address, real] : {std::pair{"10.0.0.1", "10.2.0.1"}, std::pair{"fd00::1", "fd02::1"},
                                      std::pair{"203.0.113.1", "10.2.0.1"}, std::pair{"2001:db8::80", "fd02::1"}}) {
    SCOPED_TRACE(address);
    const UniqueFd listening = listener({ip(real), 8080});
    const UniqueFd own = own_socket(SOCK_STREAM, ip(address));
    ASSERT_EQ(connect(own, {ip(address), 80}), 0);
    const Accepted accepted = accept(listening);
    std::thread sender([&] {
      const std::string text(kBytes, 'x');
      std::size_t sent = 0;
      while (sent < kBytes) {
        const ssize_t more = ::send(own.get(), text.data() + sent, kBytes - sent, MSG_NOSIGNAL);
        if (more <= 0) break;
        sent += static_cast<std::size_t>(more);
      }
    });
    EXPECT_EQ(read_text(accepted.fd, kBytes).find_first_not_of('x'), std::string::npos);
    sender.join();
  }
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
