// SPDX-License-Identifier: Apache-2.0
// The contract on the fake: what is tested with it must hold for real engines, so it must keep the same promises.
#include "ipvs/fake_engine.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "ipvs/borrowed_engine.h"
#include "ipvs/contract_suite.h"

namespace sluice::ipvs {
namespace {

class FakeRig : public EngineRig {
 public:
  std::unique_ptr<Engine> open() override { return std::make_unique<BorrowedEngine>(engine_); }

  // Does what a kernel would, to the first real server.
  void send(std::uint16_t client_port, const ConnectionEnd& to, std::size_t size) override {
    const ConnectionEnd client{*IpAddress::parse("10.1.0.1"), client_port};
    VirtualServerState* state = engine_.live(VirtualServerKey::of(Protocol::kUdp, to.address, to.port));
    ASSERT_NE(state, nullptr);
    ASSERT_FALSE(state->real_servers.empty());
    RealServerState& real = state->real_servers.front();
    const ConnectionEnd real_end{real.server.key.address, real.server.key.port};
    auto& table = engine_.connection_table;
    const bool known = std::any_of(table.begin(), table.end(),
                                   [&](const Connection& c) { return c.client == client && c.virtual_end == to; });
    if (!known) {
      table.push_back({.protocol = 17,
                       .client = client,
                       .virtual_end = to,
                       .real = real_end,
                       .state = "UDP",
                       .expires_s = 300,
                       .persistence_engine = {},
                       .engine_data = {}});
      ++real.inactive_connections;
    }
    for (Counters* counters : {&state->statistics.totals, &real.statistics.totals}) {
      counters->connections += known ? 0 : 1;
      ++counters->packets_in;
      counters->bytes_in += size + 28;
    }
  }

 protected:
  FakeEngine engine_;
};

INSTANTIATE_TEST_SUITE_P(Fake, EngineContract,
                         testing::Values(EngineUnderTest{"fake", [] { return std::make_unique<FakeRig>(); }}),
                         engine_name);

class FakeRigWithRules : public FakeRig {
 public:
  FakeRigWithRules() { engine_.describe({.name = "fake"}); }
};

INSTANTIATE_TEST_SUITE_P(Fake, RulesContract,
                         testing::Values(EngineUnderTest{"fake", [] { return std::make_unique<FakeRigWithRules>(); }}),
                         engine_name);

TEST(FakeEngine, RefusesBroadcastsOfTheNetworksThatItsHostHas) {
  FakeHost host;
  host.broadcasts.insert(*IpAddress::parse("192.0.2.255"));
  FakeEngine engine(host);
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, *IpAddress::parse("10.0.0.1"), 80);
  RealServer real;
  real.key = RealServerKey::of(*IpAddress::parse("192.0.2.255"), 80);
  const std::vector<Change> changes{AddVirtualServer{VirtualServer::of(key)}, AddRealServer{key, real}};
  const auto failures = engine.apply(changes);
  ASSERT_TRUE(failures);
  ASSERT_EQ(failures->size(), 1U);
  EXPECT_EQ(failures->front().index, 1U);
}

}  // namespace
}  // namespace sluice::ipvs
