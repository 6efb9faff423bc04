// SPDX-License-Identifier: Apache-2.0
// The contract on the engine in BPF, in a network namespace of its own for each test.
#include <gtest/gtest.h>

#include "ipvs/contract_suite.h"
#include "ipvs/ebpf/test_net.h"

namespace sluice::ipvs::ebpf {
namespace {

class EbpfRig : public EngineRig {
 public:
  std::unique_ptr<Engine> open() override {
    auto engine = EbpfEngine::open();
    EXPECT_TRUE(engine) << engine.error().what;
    return engine ? *std::move(engine) : nullptr;
  }

  void send(std::uint16_t client_port, const ConnectionEnd& to, std::size_t size) override {
    UniqueFd server;
    net_.as_server([&] { server = bound_socket(SOCK_DGRAM, {ip("10.2.0.1"), 5353}); });
    const std::string payload(size, '.');
    net_.as_client([&] {
      const UniqueFd client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), client_port});
      sockaddr_storage end{};
      const socklen_t length = fill(end, {to.address, to.port});
      ASSERT_EQ(::sendto(client.get(), payload.data(), size, 0, reinterpret_cast<const sockaddr*>(&end), length),
                static_cast<ssize_t>(size))
          << std::strerror(errno);
    });
    std::string got(size, '\0');
    ASSERT_EQ(::recv(server.get(), got.data(), size, 0), static_cast<ssize_t>(size)) << std::strerror(errno);
  }

 private:
  TestNet net_;
};

INSTANTIATE_TEST_SUITE_P(Ebpf, EngineContract,
                         testing::Values(EngineUnderTest{
                             .name = "ebpf",
                             .make_rig = [] { return std::make_unique<EbpfRig>(); },
                             .has_sync_daemons = false,
                         }),
                         engine_name);
INSTANTIATE_TEST_SUITE_P(Ebpf, RulesContract,
                         testing::Values(EngineUnderTest{
                             .name = "ebpf",
                             .make_rig = [] { return std::make_unique<EbpfRig>(); },
                             .has_sync_daemons = false,
                         }),
                         engine_name);

}  // namespace
}  // namespace sluice::ipvs::ebpf
