// SPDX-License-Identifier: Apache-2.0
// For tests: an Engine that forwards every call to another one, which outlives it. So a
// FakeEngine can be opened repeatedly, like the kernel's table.
#pragma once

#include "ipvs/engine.h"

namespace sluice::ipvs {

class BorrowedEngine : public Engine {
 public:
  explicit BorrowedEngine(Engine& engine) : engine_(engine) {}
  [[nodiscard]] Description description() const override { return engine_.description(); }
  Result<EngineInfo> info() override { return engine_.info(); }
  Result<> list(const Wanted& wanted, const std::function<void(VirtualServerState)>& visit) override {
    return engine_.list(wanted, visit);
  }
  Result<VirtualServerState> find(const VirtualServerKey& key) override { return engine_.find(key); }
  Result<> connections(const std::function<void(const Connection&)>& visit) override {
    return engine_.connections(visit);
  }
  Result<std::vector<Failure>> apply(std::span<const Change> changes) override { return engine_.apply(changes); }
  Result<> flush() override { return engine_.flush(); }
  Result<> zero(const std::optional<VirtualServerKey>& key) override { return engine_.zero(key); }
  Result<Timeouts> timeouts() override { return engine_.timeouts(); }
  Result<> set_timeouts(const Timeouts& timeouts) override { return engine_.set_timeouts(timeouts); }
  Result<std::vector<SyncDaemon>> sync_daemons() override { return engine_.sync_daemons(); }
  Result<> start_sync_daemon(const SyncDaemon& daemon) override { return engine_.start_sync_daemon(daemon); }
  Result<> stop_sync_daemon(SyncRole role) override { return engine_.stop_sync_daemon(role); }
  ServiceRules* service_rules() override { return engine_.service_rules(); }
  Result<std::optional<std::chrono::milliseconds>> tend() override { return engine_.tend(); }
  Result<std::optional<EngineWork>> work() override { return engine_.work(); }
  Result<> prepare_node() override { return engine_.prepare_node(); }
  std::vector<std::string> take_complaints() override { return engine_.take_complaints(); }
  Result<Presence> presence() override { return engine_.presence(); }
  Result<> leave_node() override { return engine_.leave_node(); }

 private:
  Engine& engine_;
};

}  // namespace sluice::ipvs
