// SPDX-License-Identifier: Apache-2.0
// UDP through a node that serves Services: how many new connections a second it makes, and how many packets of connections
// that exist it forwards. Run in network namespaces (service_traffic.py makes them): the sender in a client's, the sink in
// one that has all endpoints' addresses. The sender's own work counts, too, the same for every proxy.
//
// usage: flows sink [PORT]
//        flows new|established SERVICES PACKETS
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace {

using sluice::UniqueFd;
using Clock = std::chrono::steady_clock;

constexpr std::uint16_t kServicePort = 80;
constexpr std::uint16_t kEndpointPort = 8080;
constexpr std::uint32_t kFirstService = 0x0a600100;  // load.py's cluster_ip(0)
constexpr std::uint32_t kFirstClient = 0x0afe0001;
constexpr unsigned kPortsOfAClient = 50'000;
constexpr unsigned kEstablished = 1000;
constexpr unsigned kAtOnce = 64;  // packets of one system call

enum class Wish : char { kReply = 'r', kNothing = 'n', kStop = 's' };

[[noreturn]] void fail_with(std::string_view what) {
  fmt::print(stderr, "flows: {}: {}\n", what, std::strerror(errno));
  std::exit(1);
}

// ---- the endpoints

// Replies from the address that was asked, until it is stopped; then the socket fills up, and the kernel drops.
int sink(std::uint16_t port) {
  const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  sockaddr_in here{};
  here.sin_family = AF_INET;
  here.sin_port = htons(port);
  if (::setsockopt(socket.get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof on) < 0 ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&here), sizeof here) < 0)
    fail_with("bind");
  fmt::print("ready\n");
  std::fflush(stdout);
  while (true) {
    char wish = 0;
    sockaddr_in peer{};
    iovec content{&wish, 1};
    alignas(cmsghdr) std::array<char, 128> control{};
    msghdr message{};
    message.msg_name = &peer;
    message.msg_namelen = sizeof peer;
    message.msg_iov = &content;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (::recvmsg(socket.get(), &message, 0) < 0) fail_with("recvmsg");
    if (wish == static_cast<char>(Wish::kStop)) break;
    if (wish != static_cast<char>(Wish::kReply)) continue;
    cmsghdr* info = CMSG_FIRSTHDR(&message);
    if (info == nullptr) continue;
    reinterpret_cast<in_pktinfo*>(CMSG_DATA(info))->ipi_ifindex = 0;
    (void)::sendmsg(socket.get(), &message, 0);
  }
  fmt::print("full\n");
  std::fflush(stdout);
  while (true) ::pause();
}

// ---- the client

struct [[gnu::packed]] Packet {
  iphdr ip;
  udphdr udp;
  char wish;
};

class Sender {
 public:
  Sender() : socket_(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)) {
    if (!socket_) fail_with("a raw socket needs root");
    for (unsigned i = 0; i < kAtOnce; ++i) {
      contents_[i] = {&packets_[i], sizeof(iphdr) + sizeof(udphdr) + 1};
      to_[i].sin_family = AF_INET;
      messages_[i].msg_hdr = {&to_[i], sizeof to_[i], &contents_[i], 1, nullptr, 0, 0};
      Packet& packet = packets_[i];
      packet.ip.version = 4;
      packet.ip.ihl = 5;
      packet.ip.ttl = 64;
      packet.ip.protocol = IPPROTO_UDP;
      packet.udp.dest = htons(kServicePort);
      packet.udp.len = htons(sizeof(udphdr) + 1);
    }
  }
  ~Sender() { flush(); }
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  void send(unsigned flow, unsigned service, Wish wish) {
    Packet& packet = packets_[count_];
    packet.ip.saddr = htonl(kFirstClient + flow / kPortsOfAClient);
    packet.ip.daddr = htonl(kFirstService + service);
    packet.udp.source = htons(static_cast<std::uint16_t>(1024 + flow % kPortsOfAClient));
    packet.wish = static_cast<char>(wish);
    to_[count_].sin_addr.s_addr = packet.ip.daddr;
    if (++count_ == kAtOnce) flush();
  }

  void flush() {
    for (unsigned sent = 0; sent < count_;) {
      const int some = ::sendmmsg(socket_.get(), messages_.data() + sent, count_ - sent, 0);
      if (some < 0 && errno != ENOBUFS && errno != EINTR) fail_with("sendmmsg");
      if (some > 0) sent += static_cast<unsigned>(some);
    }
    count_ = 0;
  }

 private:
  UniqueFd socket_;
  std::array<Packet, kAtOnce> packets_{};
  std::array<iovec, kAtOnce> contents_{};
  std::array<sockaddr_in, kAtOnce> to_{};
  std::array<mmsghdr, kAtOnce> messages_{};
  unsigned count_ = 0;
};

template <typename Send>
int measure(unsigned packets, Send send) {
  const auto start = Clock::now();
  {
    Sender sender;
    for (unsigned i = 0; i < packets; ++i) send(sender, i);
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  fmt::print("{:.0f}\n", packets / seconds);
  return 0;
}

// Services in an order that no cache foresees.
unsigned service_of(unsigned flow, unsigned services) {
  return static_cast<unsigned>(std::uint64_t{flow} * 7919 % services);
}

int new_connections(unsigned services, unsigned packets) {
  return measure(packets, [&](Sender& sender, unsigned i) { sender.send(i, service_of(i, services), Wish::kNothing); });
}

// Each flow has had a reply when it counts, so connection tracking takes it for established.
int established(unsigned services, unsigned packets) {
  const UniqueFd heard(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP));
  if (!heard) fail_with("a raw socket needs root");
  unsigned replies = 0;
  for (unsigned i = 0; i < kEstablished; ++i) {
    {
      Sender sender;
      sender.send(i, service_of(i, services), Wish::kReply);
    }
    pollfd wait{heard.get(), POLLIN, 0};
    if (::poll(&wait, 1, 100) > 0) {
      std::array<char, 128> reply{};
      if (::recv(heard.get(), reply.data(), reply.size(), 0) > 0) ++replies;
    }
  }
  if (replies < kEstablished * 99 / 100) {
    fmt::print(stderr, "flows: {} of {} connections got a reply\n", replies, kEstablished);
    return 1;
  }
  {
    Sender sender;
    sender.send(0, service_of(0, services), Wish::kStop);
  }
  return measure(packets, [&](Sender& sender, unsigned i) {
    const unsigned flow = i % kEstablished;
    sender.send(flow, service_of(flow, services), Wish::kNothing);
  });
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string_view> words(arguments + 1, arguments + count);
  const auto number = [&](std::size_t at) {
    return static_cast<unsigned>(std::strtoul(arguments[at + 1], nullptr, 10));
  };
  if (words.size() == 1 && words[0] == "sink") return sink(kEndpointPort);
  if (words.size() == 2 && words[0] == "sink" && number(1) > 0 && number(1) <= 0xffff)
    return sink(static_cast<std::uint16_t>(number(1)));
  if (words.size() == 3 && number(1) > 0 && number(2) > 0) {
    if (words[0] == "new") return new_connections(number(1), number(2));
    if (words[0] == "established") return established(number(1), number(2));
  }
  fmt::print(stderr, "usage: flows sink [PORT]\n       flows new|established SERVICES PACKETS\n");
  return 2;
}
