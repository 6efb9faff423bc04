// SPDX-License-Identifier: Apache-2.0
// The kernel's ip_vs as an Engine, by its generic netlink family. Kernels 6.1 and later.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "ipvs/engine.h"
#include "sys/genetlink.h"

namespace sluice::ipvs::kernel {

class KernelEngine : public Engine {
 public:
  // In the calling thread's network namespace, from which the calls must come too. Loads the module ip_vs if it is
  // missing. Errors: EPERM without CAP_NET_ADMIN; ENOPROTOOPT if this kernel has no IPVS, with the reason as text.
  static Result<std::unique_ptr<Engine>> open();
  // Whether there is a virtual server in the calling thread's network namespace. Loads no module.
  static bool in_use(const std::string& path = "/proc/thread-self/net/ip_vs");

  [[nodiscard]] Description description() const override { return describe_ip_vs("kernel"); }
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

 private:
  explicit KernelEngine(sys::GenericNetlink netlink) : netlink_(std::move(netlink)) {}
  // Whether the family's number has changed; the new one is used from then on.
  Result<bool> family_moved();
  Result<> ask(const sys::GenericRequest& request, const sys::GenericNetlink::Answer& answer);
  Result<> dump(const sys::GenericRequest& request, const sys::GenericNetlink::Answer& answer);
  // 0, or the kernel's errno.
  Result<int> transact_one(const sys::GenericRequest& request);
  Result<> list_real_servers(VirtualServerState& state);
  Result<std::vector<Failure>> apply_once(std::span<const Change> changes);
  void load_missing_modules(std::span<const Change> changes, std::vector<Failure>& failures);

  sys::GenericNetlink netlink_;
  std::set<std::string> modules_tried_;
};

}  // namespace sluice::ipvs::kernel
