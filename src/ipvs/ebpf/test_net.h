// SPDX-License-Identifier: Apache-2.0
// For tests: a director in a network namespace of its own with a client's and a real server's beside it, and a BPF file system that only
// this process sees.
//
//   client 10.1.0.1, fd01::1  --  10.1.0.254, fd01::fe  director  10.2.0.254, fd02::fe  --  real servers 10.2.0.1 to .9, fd02::1 to ::9
#pragma once

#include <netinet/in.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/ip_literals.h"
#include "base/unique_fd.h"
#include "ipvs/ebpf/ebpf_engine.h"
#include "sys/netns.h"
#include "sys/test_netns.h"

namespace sluice::ipvs::ebpf {

// In the first test of a program: from then on /sys/fs/bpf is this process' own.
inline void mount_own_bpf_file_system() {
  static const bool mounted = [] {
    EXPECT_EQ(::unshare(CLONE_NEWNS), 0) << "this test needs root";
    EXPECT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0) << std::strerror(errno);
    EXPECT_EQ(::mount("bpf", "/sys/fs/bpf", "bpf", 0, nullptr), 0) << std::strerror(errno);
    return true;
  }();
  ASSERT_TRUE(mounted);
}

// Another file system is mounted over the one that has the pins, until this goes.
class HiddenPins {
 public:
  HiddenPins() { EXPECT_EQ(::mount("bpf", "/sys/fs/bpf", "bpf", 0, nullptr), 0); }
  ~HiddenPins() { EXPECT_EQ(::umount("/sys/fs/bpf"), 0); }
  HiddenPins(const HiddenPins&) = delete;
  HiddenPins& operator=(const HiddenPins&) = delete;
};

class TestNet {
 public:
  TestNet() : client_("slc" + std::to_string(::getpid())), server_("sls" + std::to_string(::getpid())) {
    mount_own_bpf_file_system();
    EXPECT_TRUE(sys::add_netns(client_));
    EXPECT_TRUE(sys::add_netns(server_));
    home_ = UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(::unshare(CLONE_NEWNET), 0) << "this test needs root";
    run({"ip", "-batch", "-"},
        "link set lo up\n"
        "link add client type veth peer name eth0 netns " +
            client_ +
            "\n"
            "link add server type veth peer name eth0 netns " +
            server_ +
            "\n"
            "address add 10.1.0.254/24 dev client\n"
            "address add fd01::fe/64 dev client nodad\n"
            "address add 10.2.0.254/24 dev server\n"
            "address add fd02::fe/64 dev server nodad\n"
            "link set client up\n"
            "link set server up\n"
            "link add eth0 type bridge\n"
            "link set eth0 up\n");
    run({"sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"});
    in(client_,
       "link set lo up\n"
       "address add 10.1.0.1/24 dev eth0\n"
       "address add fd01::1/64 dev eth0 nodad\n"
       "link set eth0 up\n"
       "route add default via 10.1.0.254\n"
       "route add default via fd01::fe\n");
    std::string servers = "link set lo up\n";
    for (int i = 1; i < 10; ++i) {
      servers += "address add 10.2.0." + std::to_string(i) + "/24 dev eth0\n";
      servers += "address add fd02::" + std::to_string(i) + "/64 dev eth0 nodad\n";
    }
    in(server_, servers +
                    "link set eth0 up\n"
                    "route add default via 10.2.0.254\n"
                    "route add default via fd02::fe\n");
  }
  ~TestNet() {
    EXPECT_TRUE(EbpfEngine::remove());
    EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0);
    EXPECT_TRUE(sys::remove_netns(client_));
    EXPECT_TRUE(sys::remove_netns(server_));
  }
  TestNet(const TestNet&) = delete;
  TestNet& operator=(const TestNet&) = delete;

  // The output of a program that runs in that namespace.
  std::string at_client(std::vector<std::string> command) const { return at(client_, std::move(command)); }
  std::string at_server(std::vector<std::string> command) const { return at(server_, std::move(command)); }
  // Runs `body` in it, and returns to the director's.
  void as_client(const std::function<void()>& body) const { as(client_, body); }
  void as_server(const std::function<void()>& body) const { as(server_, body); }

 private:
  static std::string at(const std::string& netns, std::vector<std::string> command) {
    command.insert(command.begin(), {"ip", "netns", "exec", netns});
    return run(command);
  }
  static void in(const std::string& netns, const std::string& batch) {
    run({"ip", "-netns", netns, "-batch", "-"}, batch);
  }
  static void as(const std::string& netns, const std::function<void()>& body) {
    const auto done = sys::in_netns(netns, [&]() -> Result<> {
      body();
      return {};
    });
    EXPECT_TRUE(done) << done.error().what;
  }
  std::string client_;
  std::string server_;
  UniqueFd home_;
};

// A socket, bound to that end where the port or the address is given.
struct TestEnd {
  IpAddress address;
  std::uint16_t port = 0;
};

inline socklen_t fill(sockaddr_storage& storage, const TestEnd& end) {
  storage = {};
  const auto bytes = end.address.bytes();
  if (end.address.family() == Family::kIPv4) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(end.port);
    std::memcpy(&v4.sin_addr, bytes.data(), bytes.size());
    return sizeof v4;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(end.port);
  std::memcpy(&v6.sin6_addr, bytes.data(), bytes.size());
  return sizeof v6;
}

constexpr int kTestPatience_s = 20;

inline UniqueFd bound_socket(int type, const TestEnd& end) {
  const int family = end.address.family() == Family::kIPv4 ? AF_INET : AF_INET6;
  UniqueFd fd(::socket(family, type | SOCK_CLOEXEC, 0));
  const timeval patience{kTestPatience_s, 0};
  const int on = 1;
  EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience), 0);
  EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
  sockaddr_storage storage{};
  const socklen_t length = fill(storage, end);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length), 0)
      << join_host_port(end.address, end.port) << ": " << std::strerror(errno);
  return fd;
}

// Of a socket's other end.
inline TestEnd end_in(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    return {IpAddress::from_v4(ntohl(v4.sin_addr.s_addr)), ntohs(v4.sin_port)};
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
  return {*IpAddress::from_bytes(v6.sin6_addr.s6_addr), ntohs(v6.sin6_port)};
}

}  // namespace sluice::ipvs::ebpf
