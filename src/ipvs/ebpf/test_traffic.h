// SPDX-License-Identifier: Apache-2.0
// For tests: an engine in a TestNet, and what a client and real servers do there.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "ipvs/ebpf/test_net.h"

namespace sluice::ipvs::ebpf {

inline RealServer masqueraded(const char* address, std::uint16_t port, std::int32_t weight = 1) {
  RealServer server;
  server.key = RealServerKey::of(ip(address), port);
  server.method = ForwardMethod::kMasquerade;
  server.weight = weight;
  return server;
}

// Where this namespace's tables and programs are pinned.
inline std::string pins() {
  return std::string("/sys/fs/bpf/sluice/") + SLUICE_LAYOUT + "/" + std::to_string(*sys::netns_cookie());
}

class Traffic : public testing::Test {
 protected:
  void SetUp() override {
    auto engine = EbpfEngine::open();
    ASSERT_TRUE(engine) << engine.error().what;
    engine_ = *std::move(engine);
  }

  void apply(const std::vector<Change>& changes) {
    const auto failures = engine_->apply(changes);
    ASSERT_TRUE(failures) << failures.error().what;
    for (const Failure& failure : *failures) ADD_FAILURE() << failure.error.what;
  }

  void serve(const VirtualServerKey& key, const char* scheduler, const std::vector<RealServer>& reals) {
    VirtualServer server = VirtualServer::of(key);
    server.scheduler = scheduler;
    std::vector<Change> changes{AddVirtualServer{server}};
    for (const RealServer& real : reals) changes.push_back(AddRealServer{key, real});
    apply(changes);
  }

  VirtualServerState found(const VirtualServerKey& key) {
    auto state = engine_->find(key);
    EXPECT_TRUE(state) << state.error().what;
    return state ? *std::move(state) : VirtualServerState{};
  }

  UniqueFd listener(const TestEnd& end) {
    UniqueFd fd;
    net_.as_server([&] {
      fd = bound_socket(SOCK_STREAM, end);
      EXPECT_EQ(::listen(fd.get(), 64), 0);
    });
    return fd;
  }
  UniqueFd receiver(const TestEnd& end) {
    UniqueFd fd;
    net_.as_server([&] { fd = bound_socket(SOCK_DGRAM, end); });
    return fd;
  }

  // In the namespace that the calling thread is in. Negative: the errno.
  static int connect(const UniqueFd& fd, const TestEnd& to) {
    sockaddr_storage end{};
    const socklen_t length = fill(end, to);
    return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&end), length) == 0 ? 0 : -errno;
  }

  TestNet net_;
  std::unique_ptr<Engine> engine_;
};

struct Accepted {
  UniqueFd fd;
  TestEnd peer;
};

inline Accepted accept(const UniqueFd& listening) {
  sockaddr_storage peer{};
  socklen_t length = sizeof peer;
  UniqueFd fd(::accept4(listening.get(), reinterpret_cast<sockaddr*>(&peer), &length, SOCK_CLOEXEC));
  EXPECT_TRUE(fd) << std::strerror(errno);
  return {std::move(fd), end_in(peer)};
}

struct Received {
  std::string text;
  TestEnd from;
};

inline Received receive(const UniqueFd& fd) {
  std::array<char, 4096> buffer{};
  sockaddr_storage from{};
  socklen_t length = sizeof from;
  const ssize_t size =
      ::recvfrom(fd.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
  EXPECT_GE(size, 0) << std::strerror(errno);
  return {std::string(buffer.data(), size < 0 ? 0 : static_cast<std::size_t>(size)), end_in(from)};
}

inline void send_to(const UniqueFd& fd, const std::string& text, const TestEnd& to) {
  sockaddr_storage end{};
  const socklen_t length = fill(end, to);
  EXPECT_EQ(::sendto(fd.get(), text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&end), length),
            static_cast<ssize_t>(text.size()))
      << std::strerror(errno);
}

inline void write_text(const UniqueFd& fd, const std::string& text) {
  EXPECT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()))
      << std::strerror(errno);
}

inline std::string read_text(const UniqueFd& fd, std::size_t size) {
  std::string text(size, '\0');
  EXPECT_EQ(::recv(fd.get(), text.data(), size, MSG_WAITALL), static_cast<ssize_t>(size)) << std::strerror(errno);
  return text;
}

struct FamilyCase {
  const char* name;
  const char* client;
  const char* virtual_address;
  std::array<const char*, 2> reals;
};
inline const std::array<FamilyCase, 2> kFamilyCases{{{"IPv4", "10.1.0.1", "10.0.0.1", {"10.2.0.1", "10.2.0.2"}},
                                                     {"IPv6", "fd01::1", "fd00::1", {"fd02::1", "fd02::2"}}}};

}  // namespace sluice::ipvs::ebpf
