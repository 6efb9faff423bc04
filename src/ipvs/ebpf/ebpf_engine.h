// SPDX-License-Identifier: Apache-2.0
// The engine in BPF: the table is in maps, the work is done by programs on the devices' hooks (bpf/sluice_tc.bpf.c), and this
// object only reads and writes. It may go at any time; packets do not need it.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "ipvs/ebpf/rules.h"
#include "ipvs/ebpf/shared_tables.h"
#include "ipvs/ebpf/table_edit.h"
#include "ipvs/ebpf/tables.h"
#include "ipvs/engine.h"

namespace sluice::ipvs::ebpf {

class EbpfEngine : public Engine {
 public:
  // Makes nothing: the first change does. kPermission, kUnsupported: BPF cannot be used here.
  static Result<std::unique_ptr<Engine>> open();
  // Whether it has anything in the calling thread's network namespace.
  static bool in_use();
  // Everything out of the kernel: programs, tables, connections.
  static Result<> remove();

  [[nodiscard]] Description description() const override;
  Result<EngineInfo> info() override;
  Result<> list(const Wanted& wanted, const std::function<void(VirtualServerState)>& visit) override;
  Result<VirtualServerState> find(const VirtualServerKey& key) override;
  Result<> connections(const std::function<void(const Connection&)>& visit) override;
  Result<std::vector<Failure>> apply(std::span<const Change> changes) override;
  Result<> flush() override;
  Result<> zero(const std::optional<VirtualServerKey>& key) override;
  Result<Timeouts> timeouts() override;
  Result<> set_timeouts(const Timeouts& timeouts) override;
  Result<std::vector<SyncDaemon>> sync_daemons() override;
  Result<> start_sync_daemon(const SyncDaemon& daemon) override;
  Result<> stop_sync_daemon(SyncRole role) override;
  ServiceRules* service_rules() override { return &rules_; }
  Result<bool> idle() override;
  Result<> leave_node() override;
  Result<std::optional<std::chrono::milliseconds>> tend() override;

 private:
  explicit EbpfEngine(std::shared_ptr<SharedTables> shared);
  // Whether there are tables.
  Result<bool> look();
  // Makes what is missing for packets. `anew`: looks at every device, also those that had our programs.
  Result<> make(bool anew = false);
  // Puts the programs on devices that have none of them.
  Result<> attach_to_new();
  Result<> start_sweep(const Programs& programs);
  [[nodiscard]] VirtualServerState state_of(const sluice_service& service) const;
  void zero_one(sluice_service& service);

  std::shared_ptr<SharedTables> shared_;
  std::optional<Tables>& tables_;
  std::optional<TableEdit>& edit_;
  EbpfRules rules_;
};

}  // namespace sluice::ipvs::ebpf
