// SPDX-License-Identifier: Apache-2.0
// What the rules do to packets. Four namespaces:
//
//   client (.2 and .77) -- node -- pod        the node has the Services' addresses on kube-ipvs0, as the data plane
//   binds them
//                            `---- other pod
//
// Where connections must reach a pod, nft's dnat stands in for IPVS: it also rewrites the destination after the marks
// were made and before the source is masqueraded. Where they need not, a server on the node has the place of IPVS,
// which would have taken them first.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>

#include "dataplane/ipvs/helper_table.h"
#include "dataplane/ipvs/helper_test_net.h"
#include "sys/links.h"
#include "sys/netns.h"
#include "sys/sockets.h"

namespace sluice::dataplane::ipvs {
namespace {

using plan::LocalDetector;
using std::chrono::milliseconds;

// How long a connection must stay without an answer to count as dropped. TCP retries only after a second.
constexpr milliseconds kSilence{400};
constexpr milliseconds kPatience{60'000};

struct Addresses {
  unsigned host_length;
  unsigned subnet_length;
  const char* client;
  const char* stranger;  // the client's other address
  const char* node_to_client;
  const char* node_to_pod;
  const char* node_to_other_pod;
  const char* pod;
  const char* other_pod;
  const char* pod_range;
  const char* cluster_ip;
  const char* balancer;  // a load balancer's address
  const char* beyond;    // behind the pod, not on this node
};
constexpr Addresses kV4{.host_length = 32,
                        .subnet_length = 24,
                        .client = "198.51.100.2",
                        .stranger = "198.51.100.77",
                        .node_to_client = "198.51.100.1",
                        .node_to_pod = "10.244.1.1",
                        .node_to_other_pod = "10.244.2.1",
                        .pod = "10.244.1.9",
                        .other_pod = "10.244.2.5",
                        .pod_range = "10.244.0.0/16",
                        .cluster_ip = "10.96.0.10",
                        .balancer = "203.0.113.7",
                        .beyond = "203.0.113.200"};
constexpr Addresses kV6{.host_length = 128,
                        .subnet_length = 64,
                        .client = "2001:db8:c::2",
                        .stranger = "2001:db8:c::77",
                        .node_to_client = "2001:db8:c::1",
                        .node_to_pod = "fd00:244:1::1",
                        .node_to_other_pod = "fd00:244:2::1",
                        .pod = "fd00:244:1::9",
                        .other_pod = "fd00:244:2::5",
                        .pod_range = "fd00:244::/32",
                        .cluster_ip = "fd00:96::10",
                        .balancer = "2001:db8:1::7",
                        .beyond = "2001:db8:2::200"};

std::uint16_t checksum(std::span<const std::uint8_t> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) sum += static_cast<std::uint32_t>(bytes[i] << 8 | bytes[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

// Whether an echo request is answered, in the calling thread's namespace.
bool ping(const IpAddress& to) {
  const bool v4 = to.family() == Family::kIPv4;
  const UniqueFd socket(
      ::socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, v4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6}));
  std::array<std::uint8_t, 8> request{
      v4 ? std::uint8_t{ICMP_ECHO} : std::uint8_t{ICMP6_ECHO_REQUEST}, 0, 0, 0, 0x51, 0x1c, 0, 1};
  if (v4) {  // the kernel does it for the other family
    const std::uint16_t sum = checksum(request);
    request[2] = static_cast<std::uint8_t>(sum >> 8);
    request[3] = static_cast<std::uint8_t>(sum & 0xff);
  }
  sockaddr_in four{};
  four.sin_family = AF_INET;
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  const auto bytes = to.bytes();
  std::memcpy(v4 ? static_cast<void*>(&four.sin_addr) : static_cast<void*>(&six.sin6_addr), bytes.data(), bytes.size());
  const auto* address = v4 ? reinterpret_cast<const sockaddr*>(&four) : reinterpret_cast<const sockaddr*>(&six);
  if (::sendto(socket.get(), request.data(), request.size(), 0, address, v4 ? sizeof four : sizeof six) < 0)
    return false;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    pollfd waiting{socket.get(), POLLIN, 0};
    if (::poll(&waiting, 1, 100) <= 0) continue;
    std::array<std::uint8_t, 512> answer{};
    if (::recv(socket.get(), answer.data(), answer.size(), 0) < 8) continue;
    const std::size_t begin = v4 ? 20 : 0;  // raw sockets of IPv4 also get the IP header
    if (answer[begin] == (v4 ? ICMP_ECHOREPLY : ICMP6_ECHO_REPLY) && answer[begin + 4] == 0x51) return true;
  }
  return false;
}

class Traffic : public testing::TestWithParam<Family> {
 protected:
  void SetUp() override {
    for (const char* role : {"client", "node", "pod", "other"}) {
      const std::string name = fmt::format("slh{}-{}", ::getpid(), role);
      ASSERT_TRUE(sys::add_netns(name));
      netns_[role] = name;
      inside(role, [] {
        // Link-local addresses too are usable at once.
        run({"sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"});
        must(sys::set_up("lo"));
      });
    }
    inside("node", [] { run({"sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"}); });
    connect("client", {a_.client, a_.stranger}, a_.node_to_client);
    connect("pod", {a_.pod}, a_.node_to_pod);
    connect("other", {a_.other_pod}, a_.node_to_other_pod);
    inside("pod", [this] { must(sys::add_address("eth0", ip(a_.beyond), a_.host_length)); });
    inside("node", [this] {
      // Any link that is down will do; not every kernel has dummies.
      must(sys::add_bridge("kube-ipvs0"));
      for (const char* address : {a_.cluster_ip, a_.balancer}) {
        must(sys::add_address("kube-ipvs0", ip(address), a_.host_length));
        wait_until_local(address);
      }
      must(sys::add_route({.destination = Cidr(ip(a_.beyond), a_.host_length), .gateway = ip(a_.pod), .link = ""}));
    });
  }
  void TearDown() override {
    for (const auto& [role, name] : netns_) EXPECT_TRUE(sys::remove_netns(name));
  }

  static void must(const Result<>& done) { ASSERT_TRUE(done) << done.error().what; }

  template <typename Body>
  void inside(const std::string& role, Body body) {
    must(sys::in_netns(netns_.at(role), [&]() -> Result<> {
      body();
      return {};
    }));
  }

  void connect(const std::string& role, const std::vector<const char*>& addresses, const char* gateway) {
    inside("node", [&] {
      must(sys::add_veth({.name = role, .peer = "eth0", .peer_netns = netns_.at(role)}));
      must(sys::set_up(role));
      must(sys::add_address(role, ip(gateway), a_.subnet_length));
    });
    inside(role, [&] {
      must(sys::set_up("eth0"));
      for (const char* address : addresses) must(sys::add_address("eth0", ip(address), a_.subnet_length));
      must(sys::add_route(
          {.destination = cidr(family_ == Family::kIPv4 ? "0.0.0.0/0" : "::/0"), .gateway = ip(gateway), .link = ""}));
    });
    wait_for_link("node", role);
    wait_for_link(role, "eth0");
  }

  void wait_for_link(const std::string& role, const std::string& link) {
    inside(role, [&] {
      const auto deadline = std::chrono::steady_clock::now() + kPatience;
      bool running = false;
      while (!running && std::chrono::steady_clock::now() < deadline) {
        const auto state = sys::link_running(link);
        running = state && *state;
        if (!running) ::usleep(1000);
      }
      EXPECT_TRUE(running) << link;
    });
  }

  // The kernel makes the route of an IPv6 address in a separate work item (addrconf_dad_work()).
  static void wait_until_local(const char* address) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    std::string route;
    while (route.find("local") == std::string::npos && std::chrono::steady_clock::now() < deadline) {
      const auto asked = sys::run_and_collect({"ip", "route", "get", address});
      ASSERT_TRUE(asked) << asked.error().what;
      route = asked->output;
    }
    EXPECT_NE(route.find("local"), std::string::npos) << address << ": " << route;
  }

  // The helper table on the node.
  void install(const HelperElements& elements, const plan::MasqueradePolicy& policy) {
    inside("node", [&] {
      table_ = open_table({.family = family_, .masquerade = policy, .masquerade_bit = 14});
      written(table_->replace(elements));
    });
  }
  void install(const HelperElements& elements) { install(elements, {.detector = by_cidr(a_.pod_range)}); }
  void change(const HelperElements& add, const HelperElements& remove) {
    inside("node", [&] { written(table_->change(add, remove)); });
  }

  // Forwards connections to address:port to the pod's port 8080, like IPVS.
  void stand_in(const char* address, std::uint16_t port) {
    const std::string family = nft_name(family_);
    const std::string rule =
        fmt::format("{} daddr {} tcp dport {} dnat to {}", family, address, port, sys::to_string({ip(a_.pod), 8080}));
    inside("node", [&] {
      nft(
          fmt::format("table {} stand-in {{\n"
                      " chain pre {{ type nat hook prerouting priority -90; {}; }}\n"
                      " chain out {{ type nat hook output priority -90; {}; }}\n}}\n",
                      family, rule, rule));
    });
  }

  UniqueFd listen(const std::string& role, std::uint16_t port) {
    UniqueFd listener;
    inside(role, [&] {
      auto made = sys::listen_tcp(port);
      ASSERT_TRUE(made) << made.error().what;
      listener = *std::move(made);
    });
    return listener;
  }

  // 0, or the errno of connect(2).
  int reach(const std::string& from, const char* to, std::uint16_t port, const char* source = nullptr,
            milliseconds patience = kPatience) {
    sys::ConnectSpec spec{
        .netns = netns_.at(from), .protocol = Protocol::kTcp, .to = {ip(to), port}, .from = std::nullopt};
    spec.timeout = patience;
    if (source != nullptr) spec.from = sys::SocketAddress{ip(source), 0};
    const auto connected = sys::connect_socket(spec);
    return connected ? 0 : connected.error().sys_errno;
  }
  testing::AssertionResult is_dropped(const std::string& from, const char* to, std::uint16_t port,
                                      const char* source = nullptr) {
    const int error = reach(from, to, port, source, kSilence);
    if (error == ETIMEDOUT) return testing::AssertionSuccess();
    return testing::AssertionFailure() << (error == 0 ? "it passed" : std::strerror(error));
  }

  // The source address that the server behind `listener` sees of a connection, or why there is none.
  std::string seen_source(const UniqueFd& listener, const std::string& from, const char* to, std::uint16_t port,
                          const char* source = nullptr) {
    const int error = reach(from, to, port, source);
    if (error != 0) return std::strerror(error);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < deadline) {
      const auto accepted = sys::accept_connection(listener);
      if (!accepted) return accepted.error().what;
      if (*accepted) return (*accepted)->client.address.to_string();
      pollfd waiting{listener.get(), POLLIN, 0};
      ::poll(&waiting, 1, 100);
    }
    return "nobody";
  }

  Family family_ = GetParam();
  const Addresses& a_ = family_ == Family::kIPv4 ? kV4 : kV6;
  std::map<std::string, std::string> netns_;  // by role
  std::unique_ptr<HelperTable> table_;
};
INSTANTIATE_TEST_SUITE_P(Families, Traffic, testing::ValuesIn(kFamilies),
                         [](const auto& family) { return std::string(to_string(family.param)); });

TEST_P(Traffic, WhatIsNotServedAtAServiceAddressIsRefusedAtOnce) {
  const UniqueFd ssh = listen("node", 22);
  EXPECT_EQ(reach("client", a_.balancer, 22), 0)
      << "without the table the node answers: this is what the rules are for";
  HelperElements e;
  e.service_addresses = {ip(a_.balancer), ip(a_.cluster_ip)};
  install(e);
  EXPECT_EQ(reach("client", a_.balancer, 22), ECONNREFUSED);
  EXPECT_EQ(reach("other", a_.cluster_ip, 22), ECONNREFUSED);
  EXPECT_EQ(reach("node", a_.balancer, 22), ECONNREFUSED) << "from the node itself";
  EXPECT_EQ(reach("client", a_.node_to_client, 22), 0) << "the node's own address belongs to no Service";
}

// As seen by a client that retries often; ICMP messages would be rate-limited. Checked by counting: a client's
// time limit could not distinguish a busy machine from a missing refusal.
TEST_P(Traffic, TcpIsRefusedAnyNumberOfTimes) {
  const UniqueFd ssh = listen("node", 22);
  inside("node", [] {
    nft("table inet count {\n"
        " counter asked {}\n counter refused {}\n"
        " chain in { type filter hook prerouting priority -500; tcp dport 22 tcp flags syn counter name asked; }\n"
        " chain out { type filter hook postrouting priority 500; tcp sport 22 tcp flags & rst == rst counter name "
        "refused; }\n}\n");
  });
  HelperElements e;
  e.service_addresses = {ip(a_.balancer)};
  install(e);
  for (int i = 0; i < 50; ++i) ASSERT_EQ(reach("client", a_.balancer, 22), ECONNREFUSED) << i;
  inside("node", [] {
    const auto packets = [](const char* counter) {
      const std::string text = run({"nft", "list", "counter", "inet", "count", counter});
      const std::size_t at = text.find("packets ");
      return at == std::string::npos ? -1 : std::atoi(text.c_str() + at + 8);
    };
    EXPECT_GE(packets("asked"), 50);
    EXPECT_EQ(packets("refused"), packets("asked"));
  });
}

TEST_P(Traffic, UdpIsRefusedByAnIcmpMessage) {
  UniqueFd server;
  inside("node", [&] { server = *sys::bind_udp(53); });
  HelperElements e;
  e.service_addresses = {ip(a_.balancer)};
  install(e);
  const auto answer = [this](const char* to, milliseconds patience) {
    auto socket = sys::connect_socket(
        {.netns = netns_.at("client"), .protocol = Protocol::kUdp, .to = {ip(to), 53}, .from = std::nullopt});
    if (!socket || !sys::send_within(*socket, "?", kPatience)) return -1;
    const auto received = sys::receive_within(*socket, patience);
    return received ? 0 : received.error().sys_errno;
  };
  EXPECT_EQ(answer(a_.balancer, kPatience), ECONNREFUSED);
  EXPECT_EQ(answer(a_.node_to_client, kSilence), ETIMEDOUT) << "the server received it and is silent";
}

TEST_P(Traffic, WhatIsServedAndHealthChecksPassTheFilter) {
  struct Row {
    const char* name;
    void (*fill)(HelperElements&, const ServedAddress&);
  };
  const UniqueFd server = listen("node", 80);
  for (const Row& row :
       {Row{"cluster IP", [](HelperElements& e, const ServedAddress& s) { e.cluster_ips.insert(s); }},
        Row{"policy Cluster", [](HelperElements& e, const ServedAddress& s) { e.masqueraded.insert(s); }},
        Row{"policy Local", [](HelperElements& e, const ServedAddress& s) { e.unmasqueraded.insert(s); }},
        Row{"health checks", [](HelperElements& e, const ServedAddress& s) { e.health_check_ports.insert(s.port); }}}) {
    SCOPED_TRACE(row.name);
    HelperElements e;
    e.service_addresses = {ip(a_.balancer)};
    install(e);
    EXPECT_EQ(reach("client", a_.balancer, 80), ECONNREFUSED);
    HelperElements served;
    row.fill(served, tcp(a_.balancer, 80));
    change(served, {});
    EXPECT_EQ(reach("client", a_.balancer, 80), 0);
    EXPECT_EQ(reach("client", a_.balancer, 81), ECONNREFUSED) << "another port";
    change({}, served);
    EXPECT_EQ(reach("client", a_.balancer, 80), ECONNREFUSED);
  }
}

TEST_P(Traffic, PingIsAnsweredByServiceAddresses) {
  HelperElements e;
  e.service_addresses = {ip(a_.balancer)};
  e.firewalled = {tcp(a_.balancer, 443)};
  install(e);
  inside("client", [this] { EXPECT_TRUE(ping(ip(a_.balancer))); });
}

TEST_P(Traffic, SourceRangesAcceptThoseInsideAndDropTheOthers) {
  const UniqueFd server = listen("node", 443);
  const ServedAddress to = tcp(a_.balancer, 443);
  HelperElements e;
  e.service_addresses = {to.address};
  e.masqueraded = {to};
  e.firewalled = {to};
  e.source_ranges = {{to, Cidr(ip(a_.client), a_.host_length - 2)}};
  install(e);
  EXPECT_EQ(reach("client", a_.balancer, 443, a_.client), 0);
  EXPECT_TRUE(is_dropped("client", a_.balancer, 443, a_.stranger));
  EXPECT_EQ(reach("client", a_.balancer, 444, a_.stranger), ECONNREFUSED) << "another port is not firewalled";
  EXPECT_EQ(reach("client", a_.node_to_client, 443, a_.stranger), 0) << "nor is another address";
  HelperElements stranger;
  stranger.source_ranges = {{to, Cidr(ip(a_.stranger), a_.host_length)}};
  change(stranger, {});
  EXPECT_EQ(reach("client", a_.balancer, 443, a_.stranger), 0);
  change({}, stranger);
  EXPECT_TRUE(is_dropped("client", a_.balancer, 443, a_.stranger));
}

// The kernel picks the Service's own address as the source, since it is local.
TEST_P(Traffic, TheNodeItselfIsFirewalledUnlessTheServiceAddressIsInTheRanges) {
  const UniqueFd server = listen("pod", 8080);
  stand_in(a_.balancer,
           443);  // so the packet does not come back into the node by loopback, where another chain would take it
  const ServedAddress to = tcp(a_.balancer, 443);
  HelperElements e;
  e.firewalled = {to};
  e.source_ranges = {{to, Cidr(ip(a_.node_to_client), a_.host_length)}};
  install(e);
  EXPECT_TRUE(is_dropped("node", a_.balancer, 443));
  HelperElements itself;
  itself.source_ranges = {{to, Cidr(ip(a_.balancer), a_.host_length)}};
  change(itself, {});
  EXPECT_EQ(reach("node", a_.balancer, 443), 0);
}

TEST_P(Traffic, SourceRangesApplyToForwardedPackets) {
  const UniqueFd server = listen("pod", 443);
  const ServedAddress to = tcp(a_.beyond, 443);
  EXPECT_EQ(reach("client", a_.beyond, 443, a_.stranger), 0);
  HelperElements e;
  e.firewalled = {to};
  e.source_ranges = {{to, Cidr(ip(a_.client), a_.host_length)}};
  install(e);
  EXPECT_EQ(reach("client", a_.beyond, 443, a_.client), 0);
  EXPECT_TRUE(is_dropped("client", a_.beyond, 443, a_.stranger));
}

TEST_P(Traffic, TheSourceToAClusterIpIsHiddenByThePolicy) {
  struct Row {
    const char* name;
    plan::MasqueradePolicy policy;
    bool client_hidden;
    bool pod_hidden;
    bool node_hidden;
  };
  using Kind = LocalDetector::Kind;
  const plan::LocalDetector pods = by_cidr(a_.pod_range);
  const std::vector<Row> rows{
      {"by the pods' range", {.detector = pods}, true, false, true},
      {"by the pods' interface", {.detector = {Kind::kInterface, {}, "other"}}, true, false, true},
      {"by what interfaces begin with", {.detector = {Kind::kInterfacePrefix, {}, "oth"}}, true, false, true},
      {"an interface is not what another begins with", {.detector = {Kind::kInterface, {}, "oth"}}, true, true, true},
      {"pods cannot be told", {}, false, false, true},
      {"everybody", {.detector = pods, .masquerade_all = true}, true, true, true},
  };
  const UniqueFd server = listen("pod", 8080);
  stand_in(a_.cluster_ip, 80);
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    HelperElements e;
    e.cluster_ips = {tcp(a_.cluster_ip, 80)};
    install(e, row.policy);
    EXPECT_EQ(seen_source(server, "client", a_.cluster_ip, 80, a_.client),
              row.client_hidden ? a_.node_to_pod : a_.client);
    EXPECT_EQ(seen_source(server, "other", a_.cluster_ip, 80), row.pod_hidden ? a_.node_to_pod : a_.other_pod);
    EXPECT_EQ(seen_source(server, "node", a_.cluster_ip, 80), row.node_hidden ? a_.node_to_pod : a_.cluster_ip);
  }
}

TEST_P(Traffic, TheNodesLoopbackAddressIsNeverHidden) {
  const UniqueFd server = listen("node", 80);
  const char* loopback = family_ == Family::kIPv4 ? "127.0.0.1" : "::1";
  HelperElements e;
  e.cluster_ips = {tcp(a_.cluster_ip, 80)};
  install(e, {.detector = {}, .masquerade_all = true});
  EXPECT_EQ(seen_source(server, "node", a_.cluster_ip, 80, loopback), loopback);
  EXPECT_EQ(seen_source(server, "client", a_.cluster_ip, 80, a_.client), a_.client)
      << "nothing leaves the node, nothing to hide";
}

TEST_P(Traffic, ClientsOfAnExternalAddressAreHiddenWithPolicyClusterOnly) {
  const UniqueFd server = listen("pod", 8080);
  stand_in(a_.balancer, 80);
  HelperElements cluster;
  cluster.masqueraded = {tcp(a_.balancer, 80)};
  install(cluster);
  EXPECT_EQ(seen_source(server, "client", a_.balancer, 80, a_.client), a_.node_to_pod);
  EXPECT_EQ(seen_source(server, "other", a_.balancer, 80), a_.node_to_pod);
  HelperElements local;
  local.unmasqueraded = {tcp(a_.balancer, 80)};
  change(local, cluster);
  EXPECT_EQ(seen_source(server, "client", a_.balancer, 80, a_.client), a_.client);
  EXPECT_EQ(seen_source(server, "other", a_.balancer, 80), a_.other_pod);
}

TEST_P(Traffic, ClientsOfANodePortAreHiddenWithPolicyClusterOnly) {
  const UniqueFd server = listen("pod", 8080);
  const UniqueFd far_server = listen("pod", 30080);
  stand_in(a_.node_to_client, 30080);
  HelperElements node_port;
  node_port.masqueraded_node_ports = {{Protocol::kTcp, 30080}};
  install(node_port);
  EXPECT_EQ(seen_source(server, "client", a_.node_to_client, 30080, a_.client), a_.node_to_pod);
  EXPECT_EQ(seen_source(far_server, "client", a_.beyond, 30080, a_.client), a_.client)
      << "the same port of another machine";
  change({}, node_port);
  EXPECT_EQ(seen_source(server, "client", a_.node_to_client, 30080, a_.client), a_.client);
}

TEST_P(Traffic, APodReachesItselfThroughAService) {
  const UniqueFd server = listen("pod", 8080);
  stand_in(a_.cluster_ip, 80);
  HelperElements e;
  e.cluster_ips = {tcp(a_.cluster_ip, 80)};
  install(e);
  EXPECT_TRUE(is_dropped("pod", a_.cluster_ip, 80))
      << "a packet that comes in with the pod's own address as its source";
  HelperElements local;
  local.local_real_servers = {ip(a_.pod)};
  change(local, {});
  EXPECT_EQ(seen_source(server, "pod", a_.cluster_ip, 80), a_.node_to_pod);
  EXPECT_EQ(seen_source(server, "other", a_.cluster_ip, 80), a_.other_pod) << "others are not concerned";
}

// Other programs use other bits of the mark; ours is gone when the packet leaves.
TEST_P(Traffic, TheMarksOtherBitsStayAndOursGoes) {
  const UniqueFd server = listen("pod", 8080);
  stand_in(a_.cluster_ip, 80);
  inside("node", [this] {
    nft(fmt::format(
        "table {} watch {{\n"
        " chain pre {{ type filter hook prerouting priority -150; meta mark set 0x8001; }}\n"
        " chain route {{ type filter hook forward priority 0; meta mark 0xc001 tcp flags syn / syn,ack counter; }}\n"
        " chain post {{ type filter hook postrouting priority 200; meta mark 0x8001 tcp flags syn / syn,ack counter; "
        "}}\n}}\n",
        nft_name(family_)));
  });
  HelperElements e;
  e.cluster_ips = {tcp(a_.cluster_ip, 80)};
  install(e);
  EXPECT_EQ(seen_source(server, "client", a_.cluster_ip, 80, a_.client), a_.node_to_pod);
  std::string counted;
  inside("node", [&] { counted = run({"nft", "list", "table", nft_name(family_), "watch"}); });
  EXPECT_EQ(counted.find("packets 0"), std::string::npos) << counted;
  EXPECT_NE(counted.find("packets 1"), std::string::npos) << counted;
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
