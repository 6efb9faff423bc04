// SPDX-License-Identifier: Apache-2.0
// Rules of Services, as packets meet them. Masquerading itself is netfilter's: a chain that does it stands here for the caller's.
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "ipvs/ebpf/test_traffic.h"

namespace sluice::ipvs::ebpf {
namespace {

constexpr std::uint32_t kMark = 0x4000;
constexpr std::uint16_t kClientPort = 4001;

struct RuleCase {
  const char* name;
  std::uint32_t flags;
  LocalClients::Kind kind;
  bool local;  // whether the client is one of the local ones
  bool masqueraded;
};
void PrintTo(const RuleCase& each, std::ostream* out) {
  *out << each.name;
}

const RuleCase kRuleCases[] = {
    {"NoFlags", 0, LocalClients::Kind::kNone, false, false},
    {"All", kMasqueradeAll, LocalClients::Kind::kNone, false, true},
    {"AllOfALocalClient", kMasqueradeAll, LocalClients::Kind::kCidr, true, true},
    {"OthersWithoutLocalClients", kMasqueradeOthers, LocalClients::Kind::kNone, false, true},
    {"OthersOfTheCidr", kMasqueradeOthers, LocalClients::Kind::kCidr, true, false},
    {"OthersThanTheCidr", kMasqueradeOthers, LocalClients::Kind::kCidr, false, true},
    {"OthersOfTheInterface", kMasqueradeOthers, LocalClients::Kind::kInterface, true, false},
    {"OthersThanTheInterface", kMasqueradeOthers, LocalClients::Kind::kInterface, false, true},
    {"OthersOfThePrefix", kMasqueradeOthers, LocalClients::Kind::kInterfacePrefix, true, false},
    {"OthersThanThePrefix", kMasqueradeOthers, LocalClients::Kind::kInterfacePrefix, false, true},
};

class Rules : public Traffic {
 protected:
  void SetUp() override {
    Traffic::SetUp();
    run({"nft", "-f", "-"}, fmt::format("table inet rules_test {{\n"
                                        "  chain post {{\n"
                                        "    type nat hook postrouting priority 100;\n"
                                        "    meta mark & {0:#x} == {0:#x} masquerade\n"
                                        "  }}\n"
                                        "}}\n",
                                        kMark));
  }
  static LocalClients local_clients(const RuleCase& each, Family family) {
    const bool v4 = family == Family::kIPv4;
    LocalClients clients{.kind = each.kind};
    if (each.kind == LocalClients::Kind::kCidr)
      clients.cidr = *Cidr::parse(each.local ? v4 ? "10.1.0.0/24" : "fd01::/64"
                                  : v4       ? "10.1.1.0/24"
                                             : "fd01:0:0:1::/64");
    if (each.kind == LocalClients::Kind::kInterface) clients.interface = each.local ? "client" : "clien";
    if (each.kind == LocalClients::Kind::kInterfacePrefix) clients.interface = each.local ? "clien" : "server";
    return clients;
  }
  void replace(const RuleSettings& settings, const RuleElements& elements) {
    const auto written = engine_->service_rules()->replace(settings, elements);
    ASSERT_TRUE(written) << written.error().what;
  }
  static RuleSettings marked(Family family) {
    RuleSettings settings;
    settings.family = family;
    settings.masquerade_mark = kMark;
    return settings;
  }
  // A TCP connection there and back; whom the real server sees as its client.
  IpAddress seen_by_server(const FamilyCase& family, const TestEnd& to) {
    const UniqueFd listening = listener({ip(family.reals[0]), 8080});
    UniqueFd client;
    net_.as_client([&] {
      client = bound_socket(SOCK_STREAM, {ip(family.client), kClientPort});
      ASSERT_EQ(connect(client, to), 0);
    });
    const Accepted accepted = accept(listening);
    write_text(client, "ask");
    EXPECT_EQ(read_text(accepted.fd, 3), "ask");
    write_text(accepted.fd, "answer");
    EXPECT_EQ(read_text(client, 6), "answer");
    return accepted.peer.address;
  }
  static std::uint64_t dropped(std::uint32_t reason) {
    const auto tables = Tables::find();
    return tables && *tables ? (*tables)->drops()[reason] : 0;
  }
  static void await_drops(std::uint32_t reason, std::uint64_t count) {
    for (int i = 0; i < 2000 && dropped(reason) < count; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(dropped(reason), count);
  }
};

class EachRule : public Rules, public testing::WithParamInterface<std::tuple<RuleCase, FamilyCase>> {};
INSTANTIATE_TEST_SUITE_P(Rules, EachRule,
                         testing::Combine(testing::ValuesIn(kRuleCases), testing::ValuesIn(kFamilyCases)),
                         [](const auto& each) {
                           return std::string(std::get<0>(each.param).name) + std::get<1>(each.param).name;
                         });

TEST_P(EachRule, SaysWhoseSourceIsReplaced) {
  const auto& [each, family] = GetParam();
  const IpAddress address = ip(family.virtual_address);
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, address, 80);
  RuleSettings settings = marked(address.family());
  settings.local_clients = local_clients(each, address.family());
  // The rule of a node port is for what has none of its own.
  ServiceRule node_port{key, kAnyOwnAddress | (each.flags == 0 ? std::uint32_t{kMasqueradeAll} : 0U)};
  node_port.key.address = {};
  replace(settings, {{{key, each.flags}, node_port}, {}, {}});
  serve(key, "rr", {masqueraded(family.reals[0], 8080)});
  const IpAddress peer = seen_by_server(family, {address, 80});
  const bool v4 = address.family() == Family::kIPv4;
  EXPECT_EQ(peer, each.masqueraded ? ip(v4 ? "10.2.0.254" : "fd02::fe") : ip(family.client));
}

class EachFamilysRules : public Rules, public testing::WithParamInterface<FamilyCase> {};
INSTANTIATE_TEST_SUITE_P(Rules, EachFamilysRules, testing::ValuesIn(kFamilyCases),
                         [](const auto& each) { return each.param.name; });

TEST_P(EachFamilysRules, OfAPortAreForEveryAddressWithoutItsOwn) {
  const FamilyCase& family = GetParam();
  const bool v4 = ip(family.client).family() == Family::kIPv4;
  const IpAddress node = ip(v4 ? "10.1.0.254" : "fd01::fe");
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, node, 30080);
  ServiceRule rule{key, kAnyOwnAddress | kMasqueradeAll};
  rule.key.address = {};
  replace(marked(key.family), {{rule}, {}, {}});
  serve(key, "rr", {masqueraded(family.reals[0], 8080)});
  EXPECT_EQ(seen_by_server(family, {node, 30080}), ip(v4 ? "10.2.0.254" : "fd02::fe"));
}

// Another mode serves by now: what is new is its own, although packets come by here first.
TEST_P(EachFamilysRules, LeaveNewConnectionsToAnotherModeOnceRetired) {
  const FamilyCase& family = GetParam();
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip(family.virtual_address), 80);
  const RuleElements elements{{{key, 0}}, {}, {}};
  replace(marked(key.family), elements);
  serve(key, "rr", {masqueraded(family.reals[0], 8080)});
  const bool v4 = key.family == Family::kIPv4;
  run({"nft", "-f", "-"}, fmt::format("add table {0} other\n"
                                      "add chain {0} other c {{ type nat hook prerouting priority dstnat; }}\n"
                                      "add rule {0} other c {0} daddr {1} tcp dport 80 dnat to {2}:8080\n",
                                      v4 ? "ip" : "ip6", family.virtual_address,
                                      v4 ? family.reals[1] : fmt::format("[{}]", family.reals[1])));
  const UniqueFd ours = listener({ip(family.reals[0]), 8080});
  const UniqueFd others = listener({ip(family.reals[1]), 8080});
  const TestEnd to{ip(family.virtual_address), 80};
  UniqueFd before;
  UniqueFd after;
  const auto open = [&](UniqueFd& client, std::uint16_t port) {
    net_.as_client([&] {
      client = bound_socket(SOCK_STREAM, {ip(family.client), port});
      ASSERT_EQ(connect(client, to), 0);
    });
  };
  open(before, 4001);
  const Accepted first = accept(ours);
  const auto retired = engine_->service_rules()->retire(key.family);
  ASSERT_TRUE(retired) << retired.error().what;
  open(after, 4002);
  const Accepted second = accept(others);
  for (const auto& [client, server] : {std::pair{&before, &first}, std::pair{&after, &second}}) {
    write_text(*client, "ask");
    EXPECT_EQ(read_text(server->fd, 3), "ask");
    write_text(server->fd, "answer");
    EXPECT_EQ(read_text(*client, 6), "answer");
  }
  replace(marked(key.family), elements);
  UniqueFd again;
  open(again, 4003);
  accept(ours);
}

// As after every change of mode on a node with Services of one family: the other family's plane has written its settings.
TEST_F(Rules, NothingIsServedBySettingsAlone) {
  replace(marked(Family::kIPv4), {});
  replace(marked(Family::kIPv6), {});
  const auto presence = engine_->presence();
  ASSERT_TRUE(presence) << presence.error().what;
  EXPECT_EQ(*presence, Presence::kIdle);
}

TEST_P(EachFamilysRules, LetOnlyAllowedSourcesIn) {
  const FamilyCase& family = GetParam();
  const bool v4 = ip(family.client).family() == Family::kIPv4;
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip(family.virtual_address), 53);
  VirtualServer server = VirtualServer::of(key);
  server.flags = kPersistentFlag;
  server.persistence_timeout_s = 300;
  replace(marked(key.family), {{{key, kFilteredFlag}}, {{key, *Cidr::parse(v4 ? "10.1.0.2/31" : "fd01::2/127")}}, {}});
  apply({AddVirtualServer{server}, AddRealServer{key, masqueraded(family.reals[0], 53)}});
  const UniqueFd receiving = receiver({ip(family.reals[0]), 53});
  UniqueFd client;
  net_.as_client([&] {
    client = bound_socket(SOCK_DGRAM, {ip(family.client), kClientPort});
    send_to(client, "no", {key.address, key.port});
  });
  await_drops(SLUICE_DROP_FILTERED, 1);
  EXPECT_EQ(found(key).statistics.totals, Counters{});
  std::size_t entries = 0;
  ASSERT_TRUE(engine_->connections([&](const Connection&) { ++entries; }));
  EXPECT_EQ(entries, 0U) << "neither a connection nor a template";

  const RuleElements more{{}, {{key, *Cidr::parse(v4 ? "10.1.0.0/24" : "fd01::/64")}}, {}};
  ASSERT_TRUE(engine_->service_rules()->change(key.family, more, {}));
  send_to(client, "yes", {key.address, key.port});
  EXPECT_EQ(receive(receiving).text, "yes");
  // What is open keeps to what was allowed.
  ASSERT_TRUE(engine_->service_rules()->change(key.family, {}, more));
  send_to(client, "still", {key.address, key.port});
  EXPECT_EQ(receive(receiving).text, "still");
  EXPECT_EQ(dropped(SLUICE_DROP_FILTERED), 1U);
}

// A client that is sent to itself, whatever the flags of its rule: it must not see its own address as the peer's.
TEST_P(EachFamilysRules, MasqueradeAClientThatIsSentToItself) {
  const FamilyCase& family = GetParam();
  const bool v4 = ip(family.client).family() == Family::kIPv4;
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip(family.virtual_address), 80);
  replace(marked(key.family), {{{key, 0}}, {}, {}});
  serve(key, "rr", {masqueraded(family.client, 8080)});
  net_.as_client([&] {
    const UniqueFd listening = bound_socket(SOCK_STREAM, {ip(family.client), 8080});
    ASSERT_EQ(::listen(listening.get(), 1), 0);
    const UniqueFd client = bound_socket(SOCK_STREAM, {ip(family.client), kClientPort});
    ASSERT_EQ(connect(client, {key.address, key.port}), 0);
    const Accepted accepted = accept(listening);
    EXPECT_EQ(accepted.peer.address, ip(v4 ? "10.1.0.254" : "fd01::fe"));
    write_text(client, "to myself");
    EXPECT_EQ(read_text(accepted.fd, 9), "to myself");
    write_text(accepted.fd, "from myself");
    EXPECT_EQ(read_text(client, 11), "from myself");
  });
}

// Pods of most CNIs are ports of a bridge, and br_netfilter lets nf_conntrack see their packets before the bridge's own hook does.
TEST_P(EachFamilysRules, MasqueradeAClientThatIsSentToItselfBehindABridge) {
  const FamilyCase& family = GetParam();
  const bool v4 = ip(family.client).family() == Family::kIPv4;
  run({"ip", "-batch", "-"},
      "link add pods0 address 02:00:00:00:00:01 type bridge\n"
      "link set pods0 up\n"
      "address flush dev client\n"
      "link set client master pods0\n"
      "link set client type bridge_slave hairpin on\n"
      "address add 10.1.0.254/24 dev pods0\n"
      "address add fd01::fe/64 dev pods0 nodad\n");
  run({"sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1", "net.bridge.bridge-nf-call-ip6tables=1"});
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip(family.virtual_address), 80);
  RuleSettings settings = marked(key.family);
  settings.local_clients.kind = LocalClients::Kind::kInterface;
  settings.local_clients.interface = "pods0";
  replace(settings, {{{key, kMasqueradeOthers}}, {}, {}});
  serve(key, "rr", {masqueraded(family.client, 8080)});
  net_.as_client([&] {
    const UniqueFd listening = bound_socket(SOCK_STREAM, {ip(family.client), 8080});
    ASSERT_EQ(::listen(listening.get(), 1), 0);
    const UniqueFd client = bound_socket(SOCK_STREAM, {ip(family.client), kClientPort});
    ASSERT_EQ(connect(client, {key.address, key.port}), 0);
    const Accepted accepted = accept(listening);
    EXPECT_EQ(accepted.peer.address, ip(v4 ? "10.1.0.254" : "fd01::fe"));
    write_text(accepted.fd, "from myself");
    EXPECT_EQ(read_text(client, 11), "from myself");
  });
  apply({RemoveRealServer{key, RealServerKey::of(ip(family.client), 8080)},
         AddRealServer{key, masqueraded(family.reals[0], 8080)}});
  EXPECT_EQ(seen_by_server(family, {key.address, key.port}), ip(family.client))
      << "a port of the pods' bridge is a pod's";
}

// The packets of its later fragments and of errors are masqueraded with the first one's.
TEST_F(Rules, MasqueradeEveryFragment) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
  replace(marked(key.family), {{{key, kMasqueradeAll}}, {}, {}});
  serve(key, "rr", {masqueraded("10.2.0.1", 53)});
  const UniqueFd receiving = receiver({ip("10.2.0.1"), 53});
  const std::string large(4000, 'x');
  net_.as_client([&] {
    const UniqueFd client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), kClientPort});
    send_to(client, large, {key.address, key.port});
  });
  const Received got = receive(receiving);
  EXPECT_EQ(got.text, large);
  EXPECT_EQ(got.from.address, ip("10.2.0.254"));
}

// The node's own packets have the node's source already.
TEST_F(Rules, LeaveTheNodesOwnPacketsAlone) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  run({"ip", "route", "add", "10.0.0.1", "via", "10.1.0.1", "src", "10.1.0.254"});
  replace(marked(key.family), {{{key, kMasqueradeAll}}, {}, {}});
  serve(key, "rr", {masqueraded("10.2.0.1", 8080)});
  const UniqueFd listening = listener({ip("10.2.0.1"), 8080});
  const UniqueFd client = bound_socket(SOCK_STREAM, {ip("10.1.0.254"), kClientPort});
  ASSERT_EQ(connect(client, {key.address, key.port}), 0);
  EXPECT_EQ(accept(listening).peer.address, ip("10.1.0.254"));
}

TEST_F(Rules, LetAConnectionEndWithItsRealServer) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
  RuleSettings settings = marked(key.family);
  replace(settings, {{{key, 0}}, {}, {}});
  serve(key, "rr", {masqueraded("10.2.0.1", 53)});
  const UniqueFd first = receiver({ip("10.2.0.1"), 53});
  const UniqueFd second = receiver({ip("10.2.0.2"), 53});
  UniqueFd client;
  net_.as_client([&] {
    client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), kClientPort});
    send_to(client, "one", {key.address, key.port});
  });
  EXPECT_EQ(receive(first).text, "one");
  apply(
      {AddRealServer{key, masqueraded("10.2.0.2", 53)}, RemoveRealServer{key, RealServerKey::of(ip("10.2.0.1"), 53)}});
  send_to(client, "lost", {key.address, key.port});
  await_drops(SLUICE_DROP_REAL_SERVER_GONE, 1);
  settings.expire_without_real_server = true;
  replace(settings, {{{key, 0}}, {}, {}});
  send_to(client, "two", {key.address, key.port});
  EXPECT_EQ(receive(second).text, "two");
}

TEST_F(Rules, LetATemplateEndWithTheWeightOfItsRealServer) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
  RuleSettings settings = marked(key.family);
  replace(settings, {{{key, 0}}, {}, {}});
  VirtualServer server = VirtualServer::of(key);
  server.scheduler = "rr";
  server.flags = kPersistentFlag;
  server.persistence_timeout_s = 300;
  apply({AddVirtualServer{server}, AddRealServer{key, masqueraded("10.2.0.1", 53)}});
  const UniqueFd first = receiver({ip("10.2.0.1"), 53});
  const UniqueFd second = receiver({ip("10.2.0.2"), 53});
  std::uint16_t port = kClientPort;
  const auto send = [&](const char* text) {
    net_.as_client([&] {
      const UniqueFd client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), port++});
      send_to(client, text, {key.address, key.port});
    });
  };
  send("one");
  EXPECT_EQ(receive(first).text, "one");
  apply({AddRealServer{key, masqueraded("10.2.0.2", 53)}, EditRealServer{key, masqueraded("10.2.0.1", 53, 0)}});
  send("two");
  EXPECT_EQ(receive(first).text, "two");
  settings.expire_quiescent_templates = true;
  replace(settings, {{{key, 0}}, {}, {}});
  send("three");
  EXPECT_EQ(receive(second).text, "three");
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
