// SPDX-License-Identifier: Apache-2.0
// For tests: an engine whose kernel is a map. It performs the kernel's checks in the kernel's order (ip_vs_ctl.c) and
// returns the kernel's errno; it forwards nothing, so tests set the counters and connections that they want to
// see.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ipvs/engine.h"
#include "ipvs/fake_service_rules.h"

namespace sluice::ipvs {

// The machine it runs on, as the kernel has it.
struct FakeHost {
  std::set<std::string> schedulers{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh",
                                   "sh", "sed", "nq", "fo",  "ovf",  "mh"};
  std::set<std::string> persistence_engines{"sip"};
  std::map<std::string, std::uint32_t> interfaces{{"eth0", 1500}};  // and their MTU
  std::set<IpAddress> broadcasts;                                   // of connected networks
  std::uint32_t ticks_per_s = 250;
};

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(FakeHost host = {}) : host_(std::move(host)) {}

  [[nodiscard]] Description description() const override { return description_; }
  // From now on it reports that of itself; what it does stays the same.
  void describe(const Description& description) { description_ = description; }
  Result<EngineInfo> info() override { return EngineInfo{0x010201, 4096}; }
  Result<> list(const Wanted& wanted, const std::function<void(VirtualServerState)>& visit) override;
  Result<VirtualServerState> find(const VirtualServerKey& key) override;
  Result<> connections(const std::function<void(const Connection&)>& visit) override;
  Result<std::vector<Failure>> apply(std::span<const Change> changes) override;
  Result<> flush() override;
  Result<> zero(const std::optional<VirtualServerKey>& key) override;
  Result<Timeouts> timeouts() override { return timeouts_; }
  Result<> set_timeouts(const Timeouts& timeouts) override;
  Result<std::vector<SyncDaemon>> sync_daemons() override;
  Result<> start_sync_daemon(const SyncDaemon& daemon) override;
  Result<> stop_sync_daemon(SyncRole role) override;
  ServiceRules* service_rules() override { return description_.needs_helper_rules ? nullptr : &rules_; }
  Result<std::optional<std::chrono::milliseconds>> tend() override;
  Result<std::optional<EngineWork>> work() override { return work_shown; }
  Result<> prepare_node() override {
    ++prepared;
    return {};
  }
  std::vector<std::string> take_complaints() override { return std::exchange(complaints, {}); }
  // Where it has rules of its own, it has been put into the node by the first change.
  Result<Presence> presence() override;
  Result<> leave_node() override;

  // To set what packets would have done; null if there is no such server. The pointer is valid until the next change.
  VirtualServerState* live(const VirtualServerKey& key);
  std::vector<Connection> connection_table;
  std::size_t apply_calls = 0;
  std::size_t tend_calls = 0;
  std::size_t prepared = 0;
  // What tend() returns.
  std::optional<std::chrono::milliseconds> tend_again;
  std::optional<EngineWork> work_shown;
  std::vector<std::string> complaints;
  bool out_of_sight = false;  // for presence(), while it is in the node
  FakeServiceRules& rules() { return rules_; }
  [[nodiscard]] bool in_node() const { return in_node_; }

 private:
  // Each returns 0, or the errno of the refusal.
  int change(const AddVirtualServer& c);
  int change(const EditVirtualServer& c);
  int change(const RemoveVirtualServer& c);
  int change(const AddRealServer& c);
  int change(const EditRealServer& c);
  int change(const RemoveRealServer& c);
  [[nodiscard]] int check_settings(const VirtualServer& server) const;
  [[nodiscard]] bool usable(const RealServerKey& key) const;
  [[nodiscard]] VirtualServer as_kept(VirtualServer server) const;
  [[nodiscard]] SyncDaemon with_defaults(SyncDaemon daemon) const;
  [[nodiscard]] bool mixes_families() const;

  FakeHost host_;
  Description description_ = describe_ip_vs("fake");
  std::map<VirtualServerKey, VirtualServerState> servers_;
  FakeServiceRules rules_;
  bool in_node_ = false;
  std::map<SyncRole, SyncDaemon> daemons_;
  Timeouts timeouts_{900, 120, 300};
};

}  // namespace sluice::ipvs
