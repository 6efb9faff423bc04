// SPDX-License-Identifier: Apache-2.0
// Packets through the engine's programs, between a client and real servers in namespaces of their own.
#include <gtest/gtest.h>

#include <thread>

#include "ipvs/ebpf/test_traffic.h"

namespace sluice::ipvs::ebpf {
namespace {

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
