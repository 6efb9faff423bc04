// SPDX-License-Identifier: Apache-2.0
// In a network namespace of its own each test puts entries into the kernel's real table and looks at what is left.
#include "sys/conntrack.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <string>

#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

Flow flow(Protocol protocol, const char* source, const char* destination, const char* reply_source,
          std::uint16_t source_port) {
  return {protocol,
          *IpAddress::parse(source),
          *IpAddress::parse(destination),
          *IpAddress::parse(reply_source),
          source_port,
          53,
          5353,
          0};
}

// Puts flows into the table.
class FlowInserter {
 public:
  FlowInserter() : socket_(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC), &mnl_socket_close) {
    mnl_socket_bind(socket_.get(), 0, MNL_SOCKET_AUTOPID);
  }

  testing::AssertionResult insert(const Flow& flow) {
    const std::unique_ptr<nf_conntrack, decltype(&nfct_destroy)> entry(nfct_new(), &nfct_destroy);
    const std::uint8_t protocol = ip_protocol_number(flow.protocol);
    const bool v4 = flow.source.family() == Family::kIPv4;
    nfct_set_attr_u8(entry.get(), ATTR_L3PROTO, v4 ? AF_INET : AF_INET6);
    nfct_set_attr_u8(entry.get(), ATTR_L4PROTO, protocol);
    nfct_set_attr_u8(entry.get(), ATTR_REPL_L3PROTO, v4 ? AF_INET : AF_INET6);
    nfct_set_attr_u8(entry.get(), ATTR_REPL_L4PROTO, protocol);
    nfct_set_attr(entry.get(), v4 ? ATTR_IPV4_SRC : ATTR_IPV6_SRC, flow.source.bytes().data());
    nfct_set_attr(entry.get(), v4 ? ATTR_IPV4_DST : ATTR_IPV6_DST, flow.destination.bytes().data());
    nfct_set_attr(entry.get(), v4 ? ATTR_REPL_IPV4_SRC : ATTR_REPL_IPV6_SRC, flow.reply_source.bytes().data());
    nfct_set_attr(entry.get(), v4 ? ATTR_REPL_IPV4_DST : ATTR_REPL_IPV6_DST, flow.source.bytes().data());
    nfct_set_attr_u16(entry.get(), ATTR_PORT_SRC, htons(flow.source_port));
    nfct_set_attr_u16(entry.get(), ATTR_PORT_DST, htons(flow.destination_port));
    nfct_set_attr_u16(entry.get(), ATTR_REPL_PORT_SRC, htons(flow.reply_source_port));
    nfct_set_attr_u16(entry.get(), ATTR_REPL_PORT_DST, htons(flow.source_port));
    nfct_set_attr_u32(entry.get(), ATTR_TIMEOUT, 300);
    if (flow.protocol == Protocol::kTcp) nfct_set_attr_u8(entry.get(), ATTR_TCP_STATE, 3);  // established
    if (flow.zone != 0) nfct_set_attr_u16(entry.get(), ATTR_ZONE, flow.zone);
    return send(entry.get(), v4 ? AF_INET : AF_INET6);
  }

 private:
  testing::AssertionResult send(const nf_conntrack* entry, std::uint8_t family) {
    alignas(nlmsghdr) std::array<char, 4096> buffer{};
    nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
    header->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)))->nfgen_family = family;
    nfct_nlmsg_build(header, entry);
    if (mnl_socket_sendto(socket_.get(), header, header->nlmsg_len) < 0)
      return testing::AssertionFailure() << std::strerror(errno);
    const ssize_t received = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (received < 0 || mnl_cb_run(buffer.data(), static_cast<std::size_t>(received), 0, 0, nullptr, nullptr) < 0) {
      return testing::AssertionFailure() << std::strerror(errno);
    }
    return testing::AssertionSuccess();
  }

  std::unique_ptr<mnl_socket, decltype(&mnl_socket_close)> socket_;
};

// The source ports of the flows of one family and protocol, which the tests make different.
std::set<std::uint16_t> listed(Family family, Protocol protocol) {
  std::set<std::uint16_t> ports;
  const auto deleted = delete_flows(family, protocol, [&ports](const Flow& seen) {
    ports.insert(seen.source_port);
    return false;
  });
  EXPECT_TRUE(deleted) << deleted.error().what;
  return ports;
}

TEST(DeleteFlows, ShowsBothTuplesOfAFlow) {
  in_fresh_netns([] {
    FlowInserter inserter;
    std::vector<Flow> wanted{flow(Protocol::kUdp, "198.51.100.1", "192.0.2.10", "10.244.1.7", 1001),
                             flow(Protocol::kUdp, "2001:db8::1", "2001:db8:1::10", "fd00::7", 1002)};
    wanted[1].zone = 7;
    for (const Flow& each : wanted) ASSERT_TRUE(inserter.insert(each));
    for (const Flow& each : wanted) {
      std::vector<Flow> seen;
      ASSERT_TRUE(delete_flows(each.source.family(), Protocol::kUdp, [&seen](const Flow& one) {
        seen.push_back(one);
        return false;
      }));
      ASSERT_EQ(seen.size(), 1u);
      EXPECT_EQ(seen[0].source, each.source);
      EXPECT_EQ(seen[0].destination, each.destination);
      EXPECT_EQ(seen[0].reply_source, each.reply_source);
      EXPECT_EQ(seen[0].source_port, each.source_port);
      EXPECT_EQ(seen[0].destination_port, 53);
      EXPECT_EQ(seen[0].reply_source_port, 5353);
      EXPECT_EQ(seen[0].zone, each.zone);
    }
  });
}

TEST(DeleteFlows, DeletesExactlyTheStaleFlows) {
  in_fresh_netns([] {
    FlowInserter inserter;
    ASSERT_TRUE(inserter.insert(flow(Protocol::kUdp, "198.51.100.1", "192.0.2.10", "10.244.1.7", 1001)));
    ASSERT_TRUE(inserter.insert(flow(Protocol::kUdp, "198.51.100.1", "192.0.2.10", "10.244.1.8", 1002)));
    ASSERT_TRUE(inserter.insert(flow(Protocol::kUdp, "2001:db8::1", "2001:db8:1::10", "fd00::7", 1003)));
    ASSERT_TRUE(inserter.insert(flow(Protocol::kTcp, "198.51.100.1", "192.0.2.10", "10.244.1.7", 1004)));
    Flow zoned = flow(Protocol::kUdp, "198.51.100.1", "192.0.2.10", "10.244.1.7", 1005);
    zoned.zone = 9;
    ASSERT_TRUE(inserter.insert(zoned));

    const auto deleted = delete_flows(Family::kIPv4, Protocol::kUdp, [](const Flow& each) {
      return each.reply_source == *IpAddress::parse("10.244.1.7");
    });
    ASSERT_TRUE(deleted) << deleted.error().what;
    EXPECT_EQ(*deleted, 2u);
    EXPECT_THAT(listed(Family::kIPv4, Protocol::kUdp), testing::ElementsAre(1002));
    EXPECT_THAT(listed(Family::kIPv6, Protocol::kUdp), testing::ElementsAre(1003));
    EXPECT_THAT(listed(Family::kIPv4, Protocol::kTcp), testing::ElementsAre(1004));
  });
}

TEST(DeleteFlows, AFlowThatEndedMeanwhileIsNoError) {
  in_fresh_netns([] {
    FlowInserter inserter;
    ASSERT_TRUE(inserter.insert(flow(Protocol::kUdp, "198.51.100.1", "192.0.2.10", "10.244.1.7", 1001)));
    const auto deleted = delete_flows(Family::kIPv4, Protocol::kUdp, [](const Flow&) {
      // The flow ends between the dump and its deletion.
      EXPECT_TRUE(delete_flows(Family::kIPv4, Protocol::kUdp, [](const Flow&) { return true; }));
      return true;
    });
    ASSERT_TRUE(deleted) << deleted.error().what;
    EXPECT_EQ(*deleted, 0u);
  });
}

TEST(DeleteFlows, AClientThatStartedAgainMeanwhileKeepsItsNewFlow) {
  in_fresh_netns([] {
    FlowInserter inserter;
    const Flow tuple = flow(Protocol::kUdp, "198.51.100.1", "192.0.2.10", "10.244.1.7", 1001);
    ASSERT_TRUE(inserter.insert(tuple));
    bool replaced = false;
    const auto deleted = delete_flows(Family::kIPv4, Protocol::kUdp, [&](const Flow&) {
      if (replaced) return true;
      replaced = true;
      EXPECT_TRUE(delete_flows(Family::kIPv4, Protocol::kUdp, [](const Flow&) { return true; }));
      Flow newer = tuple;
      newer.reply_source = *IpAddress::parse("10.244.1.8");
      EXPECT_TRUE(inserter.insert(newer));
      return true;
    });
    ASSERT_TRUE(deleted) << deleted.error().what;
    EXPECT_EQ(*deleted, 0u);
    EXPECT_THAT(listed(Family::kIPv4, Protocol::kUdp), testing::ElementsAre(1001));
  });
}

TEST(DeleteFlows, AnEmptyTableReturnsZero) {
  in_fresh_netns([] {
    const auto deleted = delete_flows(Family::kIPv6, Protocol::kUdp, [](const Flow&) { return true; });
    ASSERT_TRUE(deleted) << deleted.error().what;
    EXPECT_EQ(*deleted, 0u);
  });
}

TEST(DeleteFlows, WithoutPermissionTheErrorSaysWhy) {
  in_fresh_netns([&] {
    FlowInserter inserter;
    ASSERT_TRUE(inserter.insert(flow(Protocol::kUdp, "198.51.100.1", "192.0.2.10", "10.244.1.7", 1001)));
    // A new user namespace has no rights over the network namespace of its parent. unshare(2) requires a process of one
    // thread.
    const pid_t child = ::fork();
    if (child == 0) {
      if (::unshare(CLONE_NEWUSER) != 0) ::_exit(2);
      const auto deleted = delete_flows(Family::kIPv4, Protocol::kUdp, [](const Flow&) { return true; });
      ::_exit(!deleted && deleted.error().code == Errc::kPermission ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_THAT(listed(Family::kIPv4, Protocol::kUdp), testing::ElementsAre(1001));
  });
}

TEST(DeleteFlows, ATableOfFiftyThousandLosesExactlyTheStaleOnes) {
  in_fresh_netns([] {
    FlowInserter inserter;
    constexpr std::size_t kFlows = 50'000;
    for (std::size_t i = 0; i < kFlows; ++i) {
      Flow each = flow(Protocol::kUdp, "198.51.100.1", "192.0.2.10", i % 10 == 0 ? "10.244.1.7" : "10.244.1.8",
                       static_cast<std::uint16_t>(1000 + i % 50'000));
      each.source = IpAddress::from_v4(0xC6336400U + static_cast<std::uint32_t>(i % 200));
      ASSERT_TRUE(inserter.insert(each)) << i;
    }
    const auto stale = [](const Flow& each) { return each.reply_source == *IpAddress::parse("10.244.1.7"); };
    const auto deleted = delete_flows(Family::kIPv4, Protocol::kUdp, stale);
    ASSERT_TRUE(deleted) << deleted.error().what;
    EXPECT_EQ(*deleted, kFlows / 10);
    std::size_t left = 0;
    std::size_t left_stale = 0;
    ASSERT_TRUE(delete_flows(Family::kIPv4, Protocol::kUdp, [&](const Flow& each) {
      ++left;
      if (stale(each)) ++left_stale;
      return false;
    }));
    EXPECT_EQ(left, kFlows - kFlows / 10);
    EXPECT_EQ(left_stale, 0u);
  });
}

}  // namespace
}  // namespace sluice::sys
