// SPDX-License-Identifier: Apache-2.0
// Packets through the engine's programs, between a client and real servers in namespaces of their own.
#include <gtest/gtest.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <atomic>
#include <thread>

#include "ipvs/ebpf/test_traffic.h"

namespace sluice::ipvs::ebpf {
namespace {

// Segmentation, its undoing, and checksums: the devices get packets as they are on a wire.
void switch_offloads_off(const std::vector<std::string>& devices) {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  for (const std::string& device : devices) {
    for (const std::uint32_t what : {ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO, ETHTOOL_STXCSUM}) {
      ethtool_value value{what, 0};
      ifreq request{};
      device.copy(request.ifr_name, sizeof request.ifr_name - 1);
      request.ifr_data = reinterpret_cast<char*>(&value);
      EXPECT_EQ(::ioctl(fd.get(), SIOCETHTOOL, &request), 0) << device << ": " << std::strerror(errno);
    }
  }
}

std::uint32_t pattern_at(std::size_t word) {
  return static_cast<std::uint32_t>(word) * 2654435761U;
}

void send_pattern(const UniqueFd& fd, std::size_t bytes) {
  std::vector<std::uint32_t> words(std::size_t{16} << 10);
  for (std::size_t at = 0; at < bytes / 4; at += words.size()) {
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = pattern_at(at + i);
    const auto* data = reinterpret_cast<const char*>(words.data());
    for (std::size_t sent = 0; sent < words.size() * 4;) {
      const ssize_t size = ::send(fd.get(), data + sent, words.size() * 4 - sent, MSG_NOSIGNAL);
      ASSERT_GT(size, 0) << std::strerror(errno);
      sent += static_cast<std::size_t>(size);
    }
  }
}

// How many bytes were as they were sent.
std::size_t received_pattern(const UniqueFd& fd, std::size_t bytes) {
  std::vector<std::uint32_t> words(std::size_t{16} << 10);
  for (std::size_t at = 0; at < bytes / 4; at += words.size()) {
    const auto size = static_cast<ssize_t>(words.size() * 4);
    if (::recv(fd.get(), words.data(), words.size() * 4, MSG_WAITALL) != size) return at * 4;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] != pattern_at(at + i)) return (at + i) * 4;
    }
  }
  return bytes;
}

TEST_F(Traffic, UdpIsMasqueradedInBothDirectionsAndSpreadByRoundRobin) {
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip(each.virtual_address), 53);
    serve(key, "rr", {masqueraded(each.reals[0], 5353), masqueraded(each.reals[1], 5353)});
    const UniqueFd first = receiver({ip(each.reals[0]), 5353});
    const UniqueFd second = receiver({ip(each.reals[1]), 5353});
    for (int round = 0; round < 4; ++round) {
      UniqueFd client;
      const auto port = static_cast<std::uint16_t>(4000 + round);
      net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip(each.client), port}); });
      for (const char* text : {"a question", "another"}) {
        send_to(client, text, {key.address, key.port});
        // The newest real server comes first.
        const UniqueFd& server = round % 2 == 0 ? second : first;
        const Received got = receive(server);
        EXPECT_EQ(got.text, text);
        EXPECT_EQ(got.from.address, ip(each.client));
        EXPECT_EQ(got.from.port, port);
        send_to(server, "an answer", got.from);
        const Received answer = receive(client);
        EXPECT_EQ(answer.text, "an answer");
        EXPECT_EQ(answer.from.address, key.address) << "from the virtual server";
        EXPECT_EQ(answer.from.port, key.port);
      }
    }
    const VirtualServerState state = found(key);
    ASSERT_EQ(state.real_servers.size(), 2U);
    for (const RealServerState& real : state.real_servers) {
      EXPECT_EQ(real.active_connections, 0U);
      EXPECT_EQ(real.inactive_connections, 2U);
      EXPECT_EQ(real.statistics.totals.connections, 2U);
      EXPECT_EQ(real.statistics.totals.packets_in, 4U);
      EXPECT_EQ(real.statistics.totals.packets_out, 4U);
    }
    const std::size_t headers = key.address.family() == Family::kIPv4 ? 28 : 48;
    EXPECT_EQ(state.statistics.totals.bytes_out, 8 * (headers + 9));
  }
}

TEST_F(Traffic, TcpConnectionsAreCountedByTheirState) {
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip(each.virtual_address), 80);
    serve(key, "wlc", {masqueraded(each.reals[0], 8080)});
    const UniqueFd listening = listener({ip(each.reals[0]), 8080});
    UniqueFd client;
    net_.as_client([&] {
      client = bound_socket(SOCK_STREAM, {ip(each.client), 4001});
      EXPECT_EQ(connect(client, {key.address, key.port}), 0);
    });
    Accepted accepted = accept(listening);
    EXPECT_EQ(accepted.peer.address, ip(each.client));
    write_text(client, "GET");
    EXPECT_EQ(read_text(accepted.fd, 3), "GET");
    write_text(accepted.fd, "200");
    EXPECT_EQ(read_text(client, 3), "200");
    EXPECT_EQ(found(key).real_servers.at(0).active_connections, 1U);
    EXPECT_EQ(found(key).real_servers.at(0).inactive_connections, 0U);

    std::vector<Connection> connections;
    ASSERT_TRUE(engine_->connections([&](const Connection& c) {
      if (c.virtual_end.address == key.address) connections.push_back(c);
    }));
    ASSERT_EQ(connections.size(), 1U);
    EXPECT_EQ(connections[0].state, "ESTABLISHED");
    EXPECT_EQ(connections[0].real, (ConnectionEnd{ip(each.reals[0]), 8080}));
    EXPECT_EQ(connections[0].client, (ConnectionEnd{ip(each.client), 4001}));
    EXPECT_LE(connections[0].expires_s, 900U);
    EXPECT_GT(connections[0].expires_s, 800U);

    client = UniqueFd();
    EXPECT_EQ(read_text(accepted.fd, 0), "");
    accepted.fd = UniqueFd();
    for (int i = 0; i < 200 && found(key).real_servers.at(0).active_connections != 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    EXPECT_EQ(found(key).real_servers.at(0).active_connections, 0U);
    EXPECT_EQ(found(key).real_servers.at(0).inactive_connections, 1U) << "TIME_WAIT";
  }
}

// The request and the answer are larger than one packet.
TEST_F(Traffic, FragmentsFollowTheFirstOne) {
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip(each.virtual_address), 53);
    serve(key, "rr", {masqueraded(each.reals[0], 5353)});
    const UniqueFd server = receiver({ip(each.reals[0]), 5353});
    UniqueFd client;
    net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip(each.client), 4001}); });
    std::string large(4000, 'q');
    for (std::size_t i = 0; i < large.size(); i += 7) large[i] = static_cast<char>('a' + i % 26);
    send_to(client, large, {key.address, key.port});
    const Received got = receive(server);
    EXPECT_EQ(got.text, large);
    send_to(server, large + "!", got.from);
    const Received answer = receive(client);
    EXPECT_EQ(answer.text, large + "!");
    EXPECT_EQ(answer.from.address, key.address);
    EXPECT_EQ(found(key).statistics.totals.packets_in, 3U);
    EXPECT_EQ(found(key).statistics.totals.packets_out, 3U);
    EXPECT_EQ(found(key).statistics.totals.connections, 1U);
  }
}

TEST_F(Traffic, TheNodesOwnConnectionsAreServed) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  serve(key, "rr", {masqueraded("10.2.0.1", 8080)});
  run({"ip", "route", "add", "default", "via", "10.1.0.1"});
  const UniqueFd listening = listener({ip("10.2.0.1"), 8080});
  const UniqueFd own(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience{kTestPatience_s, 0};
  ASSERT_EQ(::setsockopt(own.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
  ASSERT_EQ(connect(own, {key.address, key.port}), 0);
  const Accepted accepted = accept(listening);
  write_text(own, "GET");
  EXPECT_EQ(read_text(accepted.fd, 3), "GET");
  write_text(accepted.fd, "200");
  EXPECT_EQ(read_text(own, 3), "200");
  EXPECT_EQ(found(key).real_servers.at(0).active_connections, 1U);
}

TEST_F(Traffic, ARealServerOfAnotherForwardMethodGetsNothing) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
  RealServer direct = masqueraded("10.2.0.1", 53);
  direct.method = ForwardMethod::kDirectRoute;
  serve(key, "rr", {direct});
  const UniqueFd server = receiver({ip("10.2.0.1"), 53});
  UniqueFd client;
  net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), 4001}); });
  send_to(client, "direct", {key.address, key.port});
  EXPECT_EQ(found(key).statistics.totals.connections, 0U);
  apply({EditRealServer{key, masqueraded("10.2.0.1", 53)}});
  send_to(client, "masqueraded", {key.address, key.port});
  EXPECT_EQ(receive(server).text, "masqueraded");
}

// One pair of ends would be both connections' for the real server.
TEST_F(Traffic, OnePortOfAClientCanBeUsedForTwoVirtualServersOfOneRealServer) {
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    const VirtualServerKey one = VirtualServerKey::of(Protocol::kUdp, ip(each.virtual_address), 53);
    const VirtualServerKey other = VirtualServerKey::of(Protocol::kUdp, ip(each.virtual_address), 54);
    serve(one, "rr", {masqueraded(each.reals[0], 5353)});
    serve(other, "rr", {masqueraded(each.reals[0], 5353)});
    const UniqueFd server = receiver({ip(each.reals[0]), 5353});
    UniqueFd client;
    net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip(each.client), 4001}); });
    for (const VirtualServerKey& key : {one, other}) {
      send_to(client, "x", {key.address, key.port});
      const Received got = receive(server);
      EXPECT_EQ(got.from.port == 4001, key == one);
      send_to(server, "y", got.from);
      EXPECT_EQ(receive(client).from.port, key.port);
    }
  }
}

// A client that comes again from the port of a connection that is over is given a new one.
TEST_F(Traffic, ASynOnAClosedConnectionIsScheduledAgain) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  serve(key, "rr", {masqueraded("10.2.0.1", 8080), masqueraded("10.2.0.2", 8080)});
  const UniqueFd first = listener({ip("10.2.0.1"), 8080});
  const UniqueFd second = listener({ip("10.2.0.2"), 8080});
  for (int round = 0; round < 4; ++round) {
    net_.as_client([&] {
      const UniqueFd client = bound_socket(SOCK_STREAM, {ip("10.1.0.1"), 4001});
      const linger at_once{1, 0};
      ASSERT_EQ(::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
      EXPECT_EQ(connect(client, {key.address, key.port}), 0) << round;
    });
    accept(round % 2 == 0 ? second : first);
  }
  EXPECT_EQ(found(key).statistics.totals.connections, 4U);
}

TEST_F(Traffic, ConnectionsExpireWhileNoProcessLooks) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
  ASSERT_TRUE(engine_->set_timeouts({0, 0, 1}));
  serve(key, "rr", {masqueraded("10.2.0.1", 5353)});
  const UniqueFd server = receiver({ip("10.2.0.1"), 5353});
  UniqueFd client;
  net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), 4001}); });
  send_to(client, "x", {key.address, key.port});
  EXPECT_EQ(receive(server).text, "x");
  EXPECT_EQ(found(key).real_servers.at(0).inactive_connections, 1U);
  engine_.reset();
  for (int i = 0; i < 200; ++i) {
    SetUp();
    if (found(key).real_servers.at(0).inactive_connections == 0) break;
    engine_.reset();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_EQ(found(key).real_servers.at(0).inactive_connections, 0U);
}

// 100 packets within one round of two seconds: 12.5 per second, and a quarter less at each round from then on.
TEST_F(Traffic, RatesAreEstimatedWhileNoProcessLooks) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
  serve(key, "rr", {masqueraded("10.2.0.1", 5353)});
  UniqueFd client;
  net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), 4001}); });
  for (int i = 0; i < 100; ++i) send_to(client, std::string(72, 'x'), {key.address, key.port});
  Counters rates;
  for (int i = 0; i < 400 && rates.packets_in == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    rates = found(key).statistics.per_second;
  }
  EXPECT_GE(rates.packets_in, 1U);
  EXPECT_LE(rates.packets_in, 13U);
  EXPECT_NEAR(static_cast<double>(rates.bytes_in) / 100, static_cast<double>(rates.packets_in), 1)
      << "100 bytes each, headers and all";
  EXPECT_EQ(found(key).real_servers.at(0).statistics.per_second.packets_in, rates.packets_in);
  const std::uint64_t first = rates.packets_in;
  for (int i = 0; i < 400 && rates.packets_in >= first; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    rates = found(key).statistics.per_second;
  }
  EXPECT_LT(rates.packets_in, first) << "it fades";
  ASSERT_TRUE(engine_->zero(key));
  EXPECT_EQ(found(key).statistics, Statistics{});
}

// In both directions at once, in segments as large as the devices take, and then in single packets.
TEST_F(Traffic, LargeTransfersArriveWholeWithSegmentationOffloadsOnAndOff) {
  constexpr std::size_t kBytes = std::size_t{32} << 20;
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  const VirtualServerKey key6 = VirtualServerKey::of(Protocol::kTcp, ip("fd00::1"), 80);
  serve(key, "rr", {masqueraded("10.2.0.1", 8080)});
  serve(key6, "rr", {masqueraded("fd02::1", 8080)});
  std::uint16_t port = 4001;
  for (const bool offloads : {true, false}) {
    if (!offloads) {
      switch_offloads_off({"client", "server"});
      net_.as_client([] { switch_offloads_off({"eth0"}); });
      net_.as_server([] { switch_offloads_off({"eth0"}); });
    }
    for (const FamilyCase& each : kFamilyCases) {
      SCOPED_TRACE(std::string(each.name) + (offloads ? " with offloads" : " without"));
      const UniqueFd listening = listener({ip(each.reals[0]), 8080});
      UniqueFd client;
      net_.as_client([&] {
        client = bound_socket(SOCK_STREAM, {ip(each.client), port++});
        EXPECT_EQ(connect(client, {ip(each.virtual_address), 80}), 0);
      });
      const Accepted accepted = accept(listening);
      std::thread up([&] { send_pattern(client, kBytes); });
      std::thread down([&] { send_pattern(accepted.fd, kBytes); });
      std::thread other([&] { EXPECT_EQ(received_pattern(accepted.fd, kBytes), kBytes); });
      EXPECT_EQ(received_pattern(client, kBytes), kBytes);
      for (std::thread* thread : {&up, &down, &other}) thread->join();
    }
  }
}

// On several processors at once, and while the real servers change. No more than kUnderway packets are on their way to the engine: on a busy
// machine a processor's backlog (net.core.netdev_max_backlog) drops what is beyond a thousand.
TEST_F(Traffic, CountsReturnToZeroAfterManyFlows) {
  constexpr std::uint16_t kThreads = 4;
  constexpr std::uint16_t kFlows = 2000;
  constexpr std::uint64_t kUnderway = 200;
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
  ASSERT_TRUE(engine_->set_timeouts({0, 0, 2}));
  serve(key, "wlc", {masqueraded("10.2.0.1", 5353), masqueraded("10.2.0.2", 5353)});
  std::atomic<std::uint64_t> sent = 0;
  std::atomic<std::uint64_t> counted_by_engine = 0;
  std::atomic<int> senders = kThreads;
  std::vector<std::thread> threads;
  for (std::uint16_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      net_.as_client([&] {
        int waits = 0;  // of 1 ms: those that are lost all the same are not waited for for ever, and missing below
        for (std::uint16_t i = 0; i < kFlows; ++i) {
          for (; waits < 100'000 && sent - counted_by_engine >= kUnderway; ++waits) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          }
          ++sent;
          const auto port = static_cast<std::uint16_t>(10000 + thread * kFlows + i);
          send_to(bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), port}), "x", {key.address, key.port});
        }
      });
      --senders;
    });
  }
  for (std::uint32_t round = 0; senders > 0; ++round) {
    apply({AddRealServer{key, masqueraded("10.2.0.3", 5353)}});
    apply({EditRealServer{key, masqueraded("10.2.0.1", 5353, 1 + round % 3)}});
    apply({RemoveRealServer{key, masqueraded("10.2.0.3", 5353).key}});
    counted_by_engine = found(key).statistics.totals.connections;
  }
  for (std::thread& thread : threads) thread.join();
  const auto counted = [&] {
    std::uint32_t all = 0;
    for (const RealServerState& real : found(key).real_servers) all += real.inactive_connections;
    return all;
  };
  for (int i = 0; i < 1000 && counted() != 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(counted(), 0U);
  // One that was removed had its share, too, and of it the packets that had chosen it in the moment of its removal.
  apply({AddRealServer{key, masqueraded("10.2.0.3", 5353)}});
  EXPECT_EQ(counted(), 0U);
  EXPECT_EQ(found(key).statistics.totals.connections, std::uint64_t{kThreads} * kFlows);
}

TEST_F(Traffic, AFullRealServerAndADrainedOneGetNoNewConnections) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
  RealServer full = masqueraded("10.2.0.1", 5353);
  full.upper_threshold = 2;
  serve(key, "rr", {masqueraded("10.2.0.2", 5353), full});
  std::vector<UniqueFd> clients(6);
  const auto send_from = [&](std::uint16_t n) {
    net_.as_client(
        [&] { clients[n] = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), static_cast<std::uint16_t>(4001 + n)}); });
    send_to(clients[n], "x", {key.address, key.port});
  };
  const auto shares = [&] {
    const VirtualServerState state = found(key);
    return std::pair{state.real_servers.at(0).inactive_connections, state.real_servers.at(1).inactive_connections};
  };
  for (std::uint16_t n = 0; n < 5; ++n) send_from(n);
  EXPECT_EQ(shares(), (std::pair{2U, 3U})) << "two, and no more";
  apply({EditRealServer{key, masqueraded("10.2.0.2", 5353, 0)}, EditRealServer{key, masqueraded("10.2.0.1", 5353)}});
  send_from(5);
  EXPECT_EQ(shares(), (std::pair{3U, 3U})) << "the limit is lifted, and the other one is drained";
  const UniqueFd drained = receiver({ip("10.2.0.2"), 5353});
  send_to(clients[4], "still served", {key.address, key.port});
  EXPECT_EQ(receive(drained).text, "still served");
}

TEST_F(Traffic, NotOnePacketGoesToARealServerThatIsGone) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
  serve(key, "rr", {masqueraded("10.2.0.1", 5353)});
  const UniqueFd server = receiver({ip("10.2.0.1"), 5353});
  UniqueFd client;
  net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), 4001}); });
  send_to(client, "1", {key.address, key.port});
  EXPECT_EQ(receive(server).text, "1");
  apply({RemoveRealServer{key, masqueraded("10.2.0.1", 5353).key}});
  send_to(client, "2", {key.address, key.port});
  apply({AddRealServer{key, masqueraded("10.2.0.1", 5353)}});
  EXPECT_EQ(found(key).real_servers.at(0).inactive_connections, 1U) << "it comes back with its connections";
  send_to(client, "3", {key.address, key.port});
  EXPECT_EQ(receive(server).text, "3");
  EXPECT_EQ(found(key).real_servers.at(0).statistics.totals.packets_in, 2U);
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
