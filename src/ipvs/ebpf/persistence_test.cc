// SPDX-License-Identifier: Apache-2.0
// Virtual servers that are not simply one address and port: persistent, for one packet, for a mark.
#include <gtest/gtest.h>

#include <algorithm>

#include "ipvs/ebpf/test_traffic.h"

namespace sluice::ipvs::ebpf {
namespace {

std::vector<Connection> all_connections(Engine& engine) {
  std::vector<Connection> all;
  const auto listed = engine.connections([&](const Connection& c) { all.push_back(c); });
  EXPECT_TRUE(listed) << listed.error().what;
  return all;
}

class Persistence : public Traffic {
 protected:
  // Sends one packet from each port, and returns which of the two receivers had it.
  std::string served(const FamilyCase& each, const VirtualServerKey& key, const std::vector<std::uint16_t>& ports) {
    std::string reals;
    for (const std::uint16_t port : ports) {
      UniqueFd client;
      net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip(each.client), port}); });
      send_to(client, "x", {key.address, key.port});
      for (int wait = 0; wait < 2000; ++wait) {
        char buffer = 0;
        const bool first = ::recv(first_.get(), &buffer, 1, MSG_DONTWAIT) == 1;
        const bool second = !first && ::recv(second_.get(), &buffer, 1, MSG_DONTWAIT) == 1;
        if (first || second) {
          reals += first ? '1' : '2';
          break;
        }
        ::usleep(1000);
      }
    }
    return reals;
  }
  void listen_at(const FamilyCase& each) {
    first_ = receiver({ip(each.reals[0]), 5353});
    second_ = receiver({ip(each.reals[1]), 5353});
  }
  void serve_with(const VirtualServer& server, const FamilyCase& each) {
    apply({AddVirtualServer{server}, AddRealServer{server.key, masqueraded(each.reals[0], 5353)},
           AddRealServer{server.key, masqueraded(each.reals[1], 5353)}});
  }
  UniqueFd first_;
  UniqueFd second_;
};

TEST_F(Persistence, AClientStaysWithItsRealServer) {
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    VirtualServer server = VirtualServer::of(VirtualServerKey::of(Protocol::kUdp, ip(each.virtual_address), 53));
    server.scheduler = "rr";
    server.flags = kPersistentFlag;
    server.persistence_timeout_s = 360;
    listen_at(each);
    serve_with(server, each);
    EXPECT_EQ(served(each, server.key, {4001, 4002, 4003}), "222");
    VirtualServerState state = found(server.key);
    EXPECT_EQ(state.real_servers.at(0).persistent_connections, 1U);
    EXPECT_EQ(state.real_servers.at(0).inactive_connections, 3U);
    EXPECT_EQ(state.statistics.totals.connections, 3U) << "a template is none";
    const std::vector<Connection> all = all_connections(*engine_);
    const auto found_template = std::find_if(all.begin(), all.end(), [&](const Connection& c) {
      return c.client == ConnectionEnd{ip(each.client), 0} && c.virtual_end == ConnectionEnd{server.key.address, 53};
    });
    ASSERT_NE(found_template, all.end());
    EXPECT_EQ(found_template->real, (ConnectionEnd{ip(each.reals[1]), 5353}));
    EXPECT_EQ(found_template->state, "NONE");
    // Weight 0 does not send persistent clients away; removal does.
    apply({EditRealServer{server.key, masqueraded(each.reals[1], 5353, 0)}});
    EXPECT_EQ(served(each, server.key, {4004}), "2");
    apply({RemoveRealServer{server.key, masqueraded(each.reals[1], 5353).key}});
    EXPECT_EQ(served(each, server.key, {4005}), "1");
    state = found(server.key);
    EXPECT_EQ(state.real_servers.at(0).persistent_connections, 1U);
  }
}

TEST_F(Persistence, ANetworkIsOneClient) {
  VirtualServer server = VirtualServer::of(VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53));
  server.scheduler = "rr";
  server.flags = kPersistentFlag;
  server.persistence_timeout_s = 360;
  server.persistence_mask = 0xffffff00;
  listen_at(kFamilyCases[0]);
  serve_with(server, kFamilyCases[0]);
  EXPECT_EQ(served(kFamilyCases[0], server.key, {4001}), "2");
  const std::vector<Connection> all = all_connections(*engine_);
  EXPECT_TRUE(std::any_of(all.begin(), all.end(),
                          [](const Connection& c) { return c.client == ConnectionEnd{ip("10.1.0.0"), 0}; }));
}

TEST_F(Persistence, OnePacketSchedulingLeavesNoEntry) {
  for (const FamilyCase& each : kFamilyCases) {
    SCOPED_TRACE(each.name);
    VirtualServer server = VirtualServer::of(VirtualServerKey::of(Protocol::kUdp, ip(each.virtual_address), 53));
    server.scheduler = "rr";
    server.flags = kOnePacketFlag;
    listen_at(each);
    serve_with(server, each);
    EXPECT_EQ(served(each, server.key, {4001, 4001, 4001, 4001}), "2121");
    EXPECT_TRUE(all_connections(*engine_).empty());
    const VirtualServerState state = found(server.key);
    EXPECT_EQ(state.statistics.totals.connections, 4U);
    EXPECT_EQ(state.real_servers.at(0).inactive_connections, 0U);
  }
}

// UDP connections are never active, so wlc would change and these do not.
TEST_F(Persistence, ADestinationStaysWithItsRealServer) {
  for (const char* scheduler : {"wlc", "lblc", "lblcr"}) {
    SCOPED_TRACE(scheduler);
    VirtualServer server = VirtualServer::of(VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53));
    server.scheduler = scheduler;
    listen_at(kFamilyCases[0]);
    serve_with(server, kFamilyCases[0]);
    const bool remembers = server.scheduler != "wlc";
    EXPECT_EQ(served(kFamilyCases[0], server.key, {4001, 4002, 4003, 4004}), remembers ? "2222" : "2121");
    apply({RemoveRealServer{server.key, masqueraded("10.2.0.2", 5353).key}});
    EXPECT_EQ(served(kFamilyCases[0], server.key, {4005, 4006}), "11");
    apply({RemoveVirtualServer{server.key}});
    ASSERT_TRUE(EbpfEngine::remove());
    SetUp();
    first_ = UniqueFd();
    second_ = UniqueFd();
  }
}

TEST_F(Persistence, AMarkIsAVirtualServer) {
  VirtualServer server = VirtualServer::of(VirtualServerKey::of_mark(Family::kIPv4, 7));
  server.scheduler = "rr";
  listen_at(kFamilyCases[0]);
  serve_with(server, kFamilyCases[0]);
  run({"ip", "route", "add", "default", "via", "10.1.0.1"});
  const UniqueFd own(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int mark = 7;
  ASSERT_EQ(::setsockopt(own.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark), 0);
  send_to(own, "marked", {ip("192.0.2.1"), 99});
  const Received got = receive(second_);
  EXPECT_EQ(got.text, "marked");
  // With the address of its route, which is the one to the client.
  EXPECT_EQ(got.from.address, ip("10.1.0.254"));
  send_to(second_, "answer", got.from);
  const timeval patience{kTestPatience_s, 0};
  ASSERT_EQ(::setsockopt(own.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  EXPECT_EQ(receive(own).from.address, ip("192.0.2.1"));
  EXPECT_EQ(found(server.key).real_servers.at(0).inactive_connections, 1U);
}

// The hook of the device below a bridge sees the packet again, with its mark.
TEST_F(Persistence, AMarkIsScheduledOnceOnStackedDevices) {
  run({"ip", "-batch", "-"},
      "address delete 10.2.0.254/24 dev server\n"
      "link set server master eth0\n"
      "address add 10.2.0.254/24 dev eth0\n"
      "route add default via 10.1.0.1\n");
  VirtualServer server = VirtualServer::of(VirtualServerKey::of_mark(Family::kIPv4, 7));
  server.scheduler = "rr";
  listen_at(kFamilyCases[0]);
  serve_with(server, kFamilyCases[0]);
  const UniqueFd own(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int mark = 7;
  ASSERT_EQ(::setsockopt(own.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark), 0);
  send_to(own, "marked", {ip("192.0.2.1"), 99});
  EXPECT_EQ(receive(second_).text, "marked");
  EXPECT_EQ(found(server.key).statistics.totals.connections, 1U);
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
