// SPDX-License-Identifier: Apache-2.0
// For tests: the promises of engine.h, each as a test that runs on any engine. A test program of an engine compiles
// contract_suite.cc in and has INSTANTIATE_TEST_SUITE_P(Name, EngineContract, testing::Values(EngineUnderTest{...}),
// engine_name).
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "ipvs/engine.h"
#include "ipvs/service_rules.h"

namespace sluice::ipvs {

// A separate machine for one test: an empty table, timeouts 900 120 300, no sync daemon, an interface eth0 with MTU
// 1500, and the persistence engine sip. It has the local addresses 10.0.0.1 and 10.0.0.2 for virtual servers,
// and 10.2.0.1, where a client's packets to any UDP port are received.
class EngineRig {
 public:
  virtual ~EngineRig() = default;
  // One more Engine on this machine's table.
  virtual std::unique_ptr<Engine> open() = 0;
  // A client, 10.1.0.1, sends one UDP packet with `size` bytes of payload from that port. Returns when the engine has
  // forwarded it.
  virtual void send(std::uint16_t client_port, const ConnectionEnd& to, std::size_t size) = 0;
};

struct EngineUnderTest {
  std::string name;
  std::function<std::unique_ptr<EngineRig>()> make_rig;
  bool has_sync_daemons = true;
};

class EngineContract : public testing::TestWithParam<EngineUnderTest> {
 protected:
  void SetUp() override;
  void TearDown() override;
  // Every change must be accepted.
  void apply(const std::vector<Change>& changes);
  std::vector<VirtualServerState> list();  // by key
  std::vector<Connection> connections();
  void expect_no_sync_daemons();

  std::unique_ptr<EngineRig> rig_;
  std::unique_ptr<Engine> engine_;
};

// For engines that need no helper rules (contract_rules.cc).
class RulesContract : public EngineContract {
 protected:
  // Sorted; from an object of its own, because rules belong to the machine.
  RuleElements read(Family family);
  std::size_t replace(const RuleSettings& settings, const RuleElements& wanted);
  std::size_t change(Family family, const RuleElements& add, const RuleElements& remove);
  bool intact(const RuleSettings& settings);
  Presence presence();
};

inline std::string engine_name(const testing::TestParamInfo<EngineUnderTest>& info) {
  return info.param.name;
}

}  // namespace sluice::ipvs
