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
  // Makes nothing: the first change does. kPermission, kUnsupported: BPF cannot be used here, or what is made could not be kept.
  static Result<std::unique_ptr<Engine>> open();
  // Whether it has anything in the calling thread's network namespace, also what is damaged, or of another version, or what cannot be read.
  static bool in_use();
  // Everything out of the kernel: programs, tables, connections, of every version.
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
  Result<std::optional<EngineWork>> work() override;
  std::vector<std::string> take_complaints() override;
  Result<> prepare_node() override;
  Result<Presence> presence() override;
  Result<> leave_node() override;
  Result<std::optional<std::chrono::milliseconds>> tend() override;

 private:
  explicit EbpfEngine(std::shared_ptr<SharedTables> shared);
  // Whether there are tables. This and the next three fail in the engine's own words: without an errno.
  Result<bool> look();
  // Makes what is missing for packets. `anew`: everything that is served is about to be written again. So every device is looked at, also those that
  // had our programs; and programs without tables are replaced. Otherwise these are another process's, and kUnavailable is returned.
  Result<> make(bool anew = false);
  Result<sys::FileLock> take_lock();
  // With the lock where there are tables.
  Result<Presence> presence_now(bool tables_there);
  static Result<> remove_all();
  // kUnavailable where a device has programs. To be asked where there are no tables.
  static Result<> no_programs_without_tables();
  Result<bool> find_tables();
  Result<> make_all(bool anew);
  // Puts the programs on devices that have none of them.
  Result<> attach_to_new();
  Result<> start_sweep(const Programs& programs);
  // Whether anything of ours is in the calling thread's network namespace.
  static Result<bool> in_node();
  [[nodiscard]] VirtualServerState state_of(const sluice_service& service) const;
  Result<> describe_coverage(EngineWork& work) const;
  void zero_one(sluice_service& service);

  std::shared_ptr<SharedTables> shared_;
  std::optional<Tables>& tables_;
  std::optional<TableEdit>& edit_;
  EbpfRules rules_;
};

}  // namespace sluice::ipvs::ebpf
