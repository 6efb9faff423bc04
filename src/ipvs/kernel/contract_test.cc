// SPDX-License-Identifier: Apache-2.0
// The contract on the kernel's ip_vs, in a network namespace of its own for each test. Runs only in the guest of
// test/guest, where it must not be skipped: a machine without ip_vs fails every test here.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"
#include "ipvs/contract_suite.h"
#include "ipvs/kernel/kernel_engine.h"
#include "sys/process.h"

namespace sluice::ipvs::kernel {
namespace {

constexpr int kClientPatience_s = 60;

constexpr const char* kSetup =
    "link set lo up\n"
    "link add eth0 type dummy\n"
    "link set eth0 mtu 1500 multicast on up\n"
    "address add 172.31.0.1/24 dev eth0\n"
    "address add 10.0.0.1/32 dev lo\n"
    "address add 10.0.0.2/32 dev lo\n"
    "address add 10.1.0.1/32 dev lo\n"
    "address add 10.2.0.1/32 dev lo\n";

sockaddr_in end_of(const IpAddress& address, std::uint16_t port) {
  sockaddr_in end{};
  end.sin_family = AF_INET;
  end.sin_port = htons(port);
  const auto bytes = address.bytes();
  std::memcpy(&end.sin_addr, bytes.data(), sizeof end.sin_addr);
  return end;
}

UniqueFd udp_socket(const IpAddress& address, std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const sockaddr_in end = end_of(address, port);
  const timeval patience{kClientPatience_s, 0};
  EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&end), sizeof end), 0) << std::strerror(errno);
  return fd;
}

class KernelRig : public EngineRig {
 public:
  KernelRig() : home_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    EXPECT_EQ(::unshare(CLONE_NEWNET), 0) << std::strerror(errno);
    const auto made = sys::run_and_collect({"ip", "-batch", "-"}, kSetup);
    EXPECT_TRUE(made && made->exit_status == 0) << (made ? made->error_output : made.error().what);
  }
  ~KernelRig() override { EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0) << std::strerror(errno); }
  KernelRig(const KernelRig&) = delete;
  KernelRig& operator=(const KernelRig&) = delete;

  std::unique_ptr<Engine> open() override {
    auto engine = KernelEngine::open();
    EXPECT_TRUE(engine) << engine.error().what;
    return engine ? *std::move(engine) : nullptr;
  }

  // The director is its own client and its own real server, so the packet was forwarded when the server has it.
  void send(std::uint16_t client_port, const ConnectionEnd& to, std::size_t size) override {
    const UniqueFd server = udp_socket(*IpAddress::parse("10.2.0.1"), 5353);
    const UniqueFd client = udp_socket(*IpAddress::parse("10.1.0.1"), client_port);
    const std::string payload(size, '.');
    const sockaddr_in end = end_of(to.address, to.port);
    ASSERT_EQ(::sendto(client.get(), payload.data(), size, 0, reinterpret_cast<const sockaddr*>(&end), sizeof end),
              static_cast<ssize_t>(size))
        << std::strerror(errno);
    std::string got(size, '\0');
    ASSERT_EQ(::recv(server.get(), got.data(), size, 0), static_cast<ssize_t>(size)) << std::strerror(errno);
  }

 private:
  UniqueFd home_;
};

INSTANTIATE_TEST_SUITE_P(Kernel, EngineContract,
                         testing::Values(EngineUnderTest{"kernel", [] { return std::make_unique<KernelRig>(); }}),
                         engine_name);

// Without root: the child's exit status says what it saw.
TEST(KernelEngine, WithoutPermissionItSaysSo) {
  const pid_t child = ::fork();
  ASSERT_NE(child, -1);
  if (child == 0) {
    if (::setuid(65534) != 0) ::_exit(100);
    const auto engine = KernelEngine::open();
    if (engine) ::_exit(101);
    if (engine.error().code != Errc::kPermission) ::_exit(102);
    ::_exit(engine.error().sys_errno == EPERM && engine.error().what.find("CAP_NET_ADMIN") != std::string::npos ? 0
                                                                                                                : 103);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// A scheduler that this kernel lacks, by name and with the module that was tried.
TEST(KernelEngine, ASchedulerThatTheKernelLacksIsNamedWithItsModule) {
  KernelRig rig;
  const auto engine = rig.open();
  ASSERT_NE(engine, nullptr);
  VirtualServer server = VirtualServer::of(VirtualServerKey::of(Protocol::kTcp, *IpAddress::parse("10.0.0.1"), 80));
  server.scheduler = "twos";
  const std::vector<Change> changes{AddVirtualServer{server}};
  const auto failures = engine->apply(changes);
  ASSERT_TRUE(failures && failures->size() == 1);
  const Error& error = failures->front().error;
  EXPECT_EQ(error.sys_errno, ENOENT);
  EXPECT_NE(error.what.find("scheduler 'twos'"), std::string::npos) << error.what;
  EXPECT_NE(error.what.find("ip_vs_twos"), std::string::npos) << error.what;
}

// The modules are unloaded and loaded again: the family then has another number.
constexpr const char* kReload =
    "set -e; loaded=$(lsmod | awk '/^ip_vs_/ { print $1 }'); rmmod $loaded ip_vs; modprobe -a ip_vs $loaded";

class ReloadedModules : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(engine_, nullptr);
    const auto reloaded = sys::run_and_collect({"sh", "-c", kReload});
    ASSERT_TRUE(reloaded && reloaded->exit_status == 0) << (reloaded ? reloaded->error_output : reloaded.error().what);
  }
  KernelRig rig_;
  std::unique_ptr<Engine> engine_ = rig_.open();
  VirtualServer server_ = VirtualServer::of(VirtualServerKey::of(Protocol::kTcp, *IpAddress::parse("10.0.0.1"), 80));
};

TEST_F(ReloadedModules, ChangesReachTheKernelNevertheless) {
  const std::vector<Change> changes{AddVirtualServer{server_}};
  const auto failures = engine_->apply(changes);
  ASSERT_TRUE(failures) << failures.error().what;
  for (const Failure& failure : *failures) ADD_FAILURE() << failure.error.what;
  EXPECT_TRUE(engine_->find(server_.key));
}

TEST_F(ReloadedModules, QueriesWorkNevertheless) {
  const auto found = engine_->find(server_.key);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().sys_errno, ESRCH) << found.error().what;
}

TEST_F(ReloadedModules, AListIsCompleteNevertheless) {
  const auto listed = list_all(*engine_);
  ASSERT_TRUE(listed) << listed.error().what;
  EXPECT_TRUE(listed->empty());
}

}  // namespace
}  // namespace sluice::ipvs::kernel
