// SPDX-License-Identifier: Apache-2.0
// IpvsDataPlane: kube-proxy's ipvs mode for one family, on any engine, with batches, drains that end, and schedulers
// per Service.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "dataplane/dataplane.h"
#include "dataplane/ipvs/drain.h"
#include "dataplane/ipvs/parts.h"
#include "dataplane/ipvs/record.h"
#include "dataplane/ipvs/run.h"
#include "dataplane/ipvs/served.h"
#include "dataplane/ipvs/work.h"
#include "ipvs/engine.h"

namespace sluice::dataplane::ipvs {

// Something that users should know and that stops nothing. Reported once per Service, or once if it concerns none.
struct Warning {
  std::optional<plan::ObjectKey> service;
  std::string what;
};

struct Options {
  Family family = Family::kIPv4;
  std::string scheduler;            // ipvs.scheduler; empty is rr
  std::vector<Cidr> exclude_cidrs;  // unwanted virtual servers in these are left alone
  std::chrono::milliseconds drain_timeout{std::chrono::minutes(15)};  // 0: cut at once
  bool localhost_node_ports = true;
  // Never served as external or load-balancer addresses. Nor are the endpoints of default/kubernetes, which are also
  // the API servers' addresses.
  std::vector<IpAddress> api_server_addresses;
  sluice::ipvs::Timeouts timeouts;  // seconds; 0 leaves the engine's; set by the first full apply
  std::string state_folder;         // "/run/sluice"; empty: cleanup will not recognise our node ports
  std::function<void(const Warning&)> warn = [](const Warning&) {};
  // Called before a full apply writes anything: the settings of the node that the mode needs.
  std::function<void()> before_full = [] {};
};

class IpvsDataPlane : public DataPlane {
 public:
  // kInvalid for a scheduler that cannot be one, and if a part that the engine needs is missing. Each
  // family needs parts of its own; the clock must outlive the data plane.
  static Result<std::unique_ptr<IpvsDataPlane>> open(Options options, Parts parts, const Clock& clock = system_clock());

  [[nodiscard]] std::string_view name() const override { return "ipvs"; }
  [[nodiscard]] Family family() const override { return settings_.family; }
  [[nodiscard]] const Capabilities& capabilities() const override { return capabilities_; }
  // A port that is refused serves with all but the virtual servers, addresses and real servers that were.
  Result<Outcome> apply(const Changes& changes) override;
  // Checks all that is live, but the real servers of only this many virtual servers at once; those of the next ones the
  // next time. Which addresses may be served, and where node ports are served, depends on the node's own.
  static constexpr std::size_t kLookedAtMost = 1000;
  Result<Integrity> intact() override;
  Result<Difference> compare(const Changes& wanted) override;
  // Every real server is drained until its connections have ended, at most for the drain timeout.
  Result<> retire() override;
  Result<std::optional<std::chrono::milliseconds>> tend() override;
  [[nodiscard]] std::vector<Refusal> refusals() const override {
    return served_ ? served_->refusals() : std::vector<Refusal>();
  }
  std::optional<KernelWork> kernel_work() override;
  [[nodiscard]] std::vector<std::pair<std::string, std::size_t>> rules_by_table() const override;

 private:
  IpvsDataPlane(Options options, WantedSettings settings, Parts parts, const Clock& clock);

  [[nodiscard]] bool api_servers_change(const std::vector<plan::Change>& ports) const;
  void note_api_servers(const std::vector<plan::Change>& ports);
  Result<> apply_full(const std::vector<plan::Change>& ports, Run& run);
  Result<> apply_incremental(const std::vector<plan::Change>& ports, Run& run);
  Result<> carry_out(const Work& work, Run& run);
  Result<> write(const std::vector<TableChange>& changes, Run& run);
  // The live part of a virtual server, from what is known or, if part of it was refused, from the engine.
  Result<std::optional<LiveVirtualServer>> live_of(const VirtualServerKey& key,
                                                   const std::optional<WantedVirtualServer>& known);
  // For refused ports: what their unchanged plans still lack.
  void add_what_is_missing(const std::vector<plan::Change>& ports, Served::Delta& delta,
                           std::set<IpAddress>& to_bind) const;
  std::optional<TableChange> with_fallback(const TableChange& change, const Error& error);
  void note_failure(const TableChange& change, const Error& error, Run& run);
  Result<> bind(const std::vector<IpAddress>& addresses, Run& run);
  void refuse_addresses(const std::map<IpAddress, std::string>& reasons, Run& run);
  Result<> unbind(const std::vector<IpAddress>& addresses, Run& run);
  // Removes what is drained, at these virtual servers.
  Result<> finish_drains(const std::vector<VirtualServerKey>& keys, Run& run);
  Result<NodeAddresses> read_node(const NodePortAddresses& node_ports,
                                  const std::vector<sys::InterfaceAddress>& listed);
  Result<bool> addresses_intact(const std::vector<sys::InterfaceAddress>& listed);
  Result<bool> table_intact();
  Result<bool> virtual_servers_intact();
  [[nodiscard]] bool excluded(const IpAddress& address) const;
  Result<> write_elements(const std::function<Result<std::size_t>(HelperTable&)>& write, Run& run);
  // Once: a later change of them, with ipvsadm, is meant.
  void set_timeouts();
  void record_before();
  void record_after();
  // Those that a device must carry; none, if the engine needs no local addresses.
  [[nodiscard]] std::set<IpAddress> to_bind(const HelperElements& added) const;
  // Of this family, on the device.
  [[nodiscard]] std::vector<IpAddress> bound_in(const std::vector<sys::InterfaceAddress>& listed) const;
  // Of annotations that cannot be followed, and of node ports.
  void warn_of_ports(const std::vector<plan::Change>& ports);
  void warn_once(const std::optional<plan::ObjectKey>& service, std::string what);

  Options options_;
  WantedSettings settings_;
  std::unique_ptr<sluice::ipvs::Engine> engine_;
  std::unique_ptr<node::Network> network_;
  std::unique_ptr<HelperTable> table_;     // goes before the engine, whose rules it may be
  std::unique_ptr<ServiceDevice> device_;  // null: the engine needs none
  const Clock& clock_;
  NodePortRecord node_port_record_;
  AddressRecord address_record_;  // without a folder where records_addresses() is false
  Capabilities capabilities_;
  bool timeouts_set_ = false;
  NodePortAddresses node_port_addresses_;                            // as of the last full apply
  std::optional<Served> served_;                                     // nothing before the first apply
  std::map<plan::ServicePortKey, std::set<IpAddress>> api_servers_;  // by port of default/kubernetes
  Drains drains_;
  // What the kernel refused of what is wanted.
  std::set<VirtualServerKey> incomplete_;  // they, or some of their real servers
  std::set<IpAddress> unbound_;            // addresses on kube-ipvs0
  // What is not wanted, and the kernel does not release.
  std::set<VirtualServerKey> unremoved_;
  std::set<IpAddress> still_bound_;
  std::optional<Error> device_refused_;        // why there is no kube-ipvs0 at all
  std::optional<VirtualServerKey> looked_at_;  // the last whose real servers intact() saw; nothing: start again
  std::map<std::optional<plan::ObjectKey>, std::set<std::string>> warned_;
};

}  // namespace sluice::dataplane::ipvs
