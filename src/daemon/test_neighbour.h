// SPDX-License-Identifier: Apache-2.0
// For tests: a neighbour on the node's network that sends a SYN to 127.0.0.1, as no kernel would by itself, and checks
// whether a reply comes. The calling thread's network namespace becomes the node's.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/ip_literals.h"
#include "base/unique_fd.h"
#include "sys/links.h"
#include "sys/netns.h"

namespace sluice::daemon {

class Neighbour {
 public:
  Neighbour() : netns_(fmt::format("sluice-neighbour-{}", ::getpid())) {
    (void)sys::remove_netns(netns_);
    EXPECT_TRUE(sys::add_netns(netns_));
    EXPECT_TRUE(sys::set_up("lo"));
    EXPECT_TRUE(sys::add_veth({"eth0", "eth0", netns_, kNodeMac, kOwnMac}));
    EXPECT_TRUE(sys::set_up("eth0"));
    EXPECT_TRUE(sys::add_address("eth0", ip(kNode), 24));
    EXPECT_TRUE(sys::add_neighbour("eth0", ip(kNodesAddress), kOwnMac));
    EXPECT_TRUE(sys::in_netns(netns_, [this]() -> Result<> {
      SLUICE_CHECK_OK(sys::set_up("eth0"));
      wire_ = UniqueFd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP)));
      sockaddr_ll address{};
      address.sll_family = AF_PACKET;
      address.sll_protocol = htons(ETH_P_IP);
      address.sll_ifindex = static_cast<int>(::if_nametoindex("eth0"));
      EXPECT_EQ(::bind(wire_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
      return {};
    }));
    listen(local_, kLoopback, kLocalPort);
    listen(open_, kNode, kOpenPort);
  }
  ~Neighbour() { (void)sys::remove_netns(netns_); }
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;

  // Whether the node replies to a SYN to 127.0.0.1. A second SYN, to an address that must reply, follows on the same
  // link: when its reply has arrived, the first one's would have too.
  bool reaches_loopback() {
    for (int turn = 0; turn < kTurnsMax; ++turn) {
      const std::uint16_t port = ++own_port_;
      send_syn(kLoopback, kLocalPort, port);
      send_syn(kNode, kOpenPort, port);
      bool reached = false;
      for (;;) {
        pollfd waiting{wire_.get(), POLLIN, 0};
        if (::poll(&waiting, 1, kTurnMs) <= 0) break;  // the link is not up yet, or a frame was lost
        const Answer answer = receive();
        if (answer.to != port || !answer.syn_ack) continue;
        reached = reached || answer.from == kLocalPort;
        if (answer.from == kOpenPort) return reached;
      }
    }
    ADD_FAILURE() << "the node does not answer at all";
    return false;
  }

 private:
  static constexpr const char* kLoopback = "127.0.0.1";
  static constexpr const char* kNode = "192.0.2.1";
  static constexpr const char* kNodesAddress = "192.0.2.2";
  static constexpr std::uint16_t kLocalPort = 9999;
  static constexpr std::uint16_t kOpenPort = 9998;
  static constexpr sys::MacAddress kNodeMac{2, 0, 0, 0, 0, 1};
  static constexpr sys::MacAddress kOwnMac{2, 0, 0, 0, 0, 2};
  static constexpr int kTurnsMax = 50;
  static constexpr int kTurnMs = 200;

  static void listen(UniqueFd& listener, const char* address, std::uint16_t port) {
    listener = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in local{};
    local.sin_family = AF_INET;
    local.sin_port = htons(port);
    ::inet_pton(AF_INET, address, &local.sin_addr);
    EXPECT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local), 0);
    EXPECT_EQ(::listen(listener.get(), 64), 0);
  }

  // RFC 1071.
  static std::uint16_t checksum(std::span<const std::uint8_t> bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); i += 2)
      sum += static_cast<std::uint32_t>(bytes[i] << 8 | (i + 1 < bytes.size() ? bytes[i + 1] : 0));
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return htons(static_cast<std::uint16_t>(~sum));
  }

  void send_syn(const char* to, std::uint16_t port, std::uint16_t own_port) const {
    iphdr header{};
    header.version = 4;
    header.ihl = 5;
    header.tot_len = htons(sizeof(iphdr) + sizeof(tcphdr));
    header.ttl = 64;
    header.protocol = IPPROTO_TCP;
    ::inet_pton(AF_INET, kNodesAddress, &header.saddr);
    ::inet_pton(AF_INET, to, &header.daddr);
    std::array<std::uint8_t, sizeof(iphdr)> header_bytes{};
    std::memcpy(header_bytes.data(), &header, sizeof header);
    header.check = checksum(header_bytes);
    tcphdr segment{};
    segment.source = htons(own_port);
    segment.dest = htons(port);
    segment.seq = htonl(1);
    segment.doff = 5;
    segment.syn = 1;
    segment.window = htons(1024);
    // The pseudo header: addresses, protocol, length.
    std::array<std::uint8_t, 12 + sizeof(tcphdr)> summed{};
    std::memcpy(summed.data(), &header.saddr, 8);
    summed[9] = IPPROTO_TCP;
    summed[11] = sizeof(tcphdr);
    std::memcpy(summed.data() + 12, &segment, sizeof segment);
    segment.check = checksum(summed);
    std::array<std::uint8_t, ETH_HLEN + sizeof(iphdr) + sizeof(tcphdr)> frame{};
    std::memcpy(frame.data(), kNodeMac.data(), ETH_ALEN);
    std::memcpy(frame.data() + ETH_ALEN, kOwnMac.data(), ETH_ALEN);
    frame[12] = ETH_P_IP >> 8;
    frame[13] = ETH_P_IP & 0xff;
    std::memcpy(frame.data() + ETH_HLEN, &header, sizeof header);
    std::memcpy(frame.data() + ETH_HLEN + sizeof header, &segment, sizeof segment);
    (void)::send(wire_.get(), frame.data(), frame.size(), 0);
  }

  struct Answer {
    std::uint16_t from = 0;
    std::uint16_t to = 0;
    bool syn_ack = false;
  };
  [[nodiscard]] Answer receive() const {
    std::array<std::uint8_t, 2048> frame{};
    const ssize_t length = ::recv(wire_.get(), frame.data(), frame.size(), 0);
    if (length < static_cast<ssize_t>(ETH_HLEN + sizeof(iphdr) + sizeof(tcphdr))) return {};
    if (std::memcmp(frame.data() + ETH_ALEN, kNodeMac.data(), ETH_ALEN) != 0) return {};  // our own
    iphdr header{};
    std::memcpy(&header, frame.data() + ETH_HLEN, sizeof header);
    if (header.protocol != IPPROTO_TCP) return {};
    tcphdr segment{};
    std::memcpy(&segment, frame.data() + ETH_HLEN + header.ihl * 4, sizeof segment);
    return {ntohs(segment.source), ntohs(segment.dest), segment.syn == 1 && segment.ack == 1};
  }

  std::string netns_;
  UniqueFd wire_;
  UniqueFd local_;
  UniqueFd open_;
  std::uint16_t own_port_ = 20000;
};

}  // namespace sluice::daemon
