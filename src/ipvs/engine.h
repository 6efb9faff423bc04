// SPDX-License-Identifier: Apache-2.0
// Engine: one implementation of IPVS in one network namespace: the kernel's ip_vs, or ours in BPF. The same table of
// virtual servers, the same rules, the same numbers in each; the contract suite (contract_suite.cc) checks
// every engine against it.
//
// The contract.
// - The table belongs to the machine, not to this object: it outlives us, other programs may change it, and nothing
//   here is cached.
// - A key is unique. Adding what exists fails and changes nothing; editing or removing what does not exist fails.
// - An edit replaces every setting of its object and nothing else: connections and counters continue.
// - Every refusal has text that names what was requested and why it failed. Callers branch on its code; its sys_errno
//   is the kernel's, which ipvsadm shows:
//     kAlreadyExists  EEXIST  added: it already exists
//     kNotFound       ESRCH   the virtual server does not exist (also when one of its real servers is meant)
//                     ENOENT  the real server does not exist
//                     ENODEV  a sync daemon's interface does not exist
//     kUnsupported    ENOENT  a virtual server's scheduler or persistence engine is unknown
//                     EOPNOTSUPP  a sync daemon, of an engine that has none
//     kInvalid        EINVAL  a value out of range; a gue tunnel without port; a real server's address that is neither
//                             unicast nor local; a real server of the other family without kTunnel, or while a sync
//                             daemon runs
//                     ERANGE  a weight below 0; a lower threshold above the upper one
//     kPermission     EPERM   the caller lacks permission (CAP_NET_ADMIN over the network namespace)
//   Errors without these mean that the engine itself could not be reached. Those of an engine of ours have no
//   sys_errno, so that ipvsadm shows their text.
// - Calls are made from one thread. How long a call blocks depends on the size of the table.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "ipvs/change.h"
#include "ipvs/connection.h"
#include "ipvs/sync_daemon.h"

namespace sluice::ipvs {

class ServiceRules;

struct Counters {
  std::uint64_t connections = 0;
  std::uint64_t packets_in = 0;  // client to real server
  std::uint64_t packets_out = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  friend bool operator==(const Counters&, const Counters&) = default;
};

// Up to two seconds old: engines publish counters when they compute the rates.
struct Statistics {
  Counters totals;  // since it was added or zeroed
  Counters per_second;
  friend bool operator==(const Statistics&, const Statistics&) = default;
};

struct RealServerState {
  RealServer server;
  std::uint32_t active_connections = 0;
  std::uint32_t inactive_connections = 0;
  std::uint32_t persistent_connections = 0;
  Statistics statistics;
};

struct VirtualServerState {
  VirtualServer server;
  Statistics statistics;
  std::vector<RealServerState> real_servers;  // newest first
};

struct EngineInfo {
  std::uint32_t version = 0;                // 0x010201 is 1.2.1
  std::uint32_t connection_table_size = 0;  // in buckets
};

// Seconds. In set_timeouts() 0 leaves that one unchanged.
struct Timeouts {
  std::uint32_t tcp_s = 0;      // established
  std::uint32_t tcp_fin_s = 0;  // after the client's FIN
  std::uint32_t udp_s = 0;
  friend bool operator==(const Timeouts&, const Timeouts&) = default;
};

// What an engine of ours does in the node, which no listing shows.
struct EngineWork {
  std::uint64_t connections = 0;               // in the table, and entries of persistence
  std::uint64_t connections_max = 0;           // more are refused
  std::size_t devices = 0;                     // that have its programs
  std::vector<std::string> devices_without{};  // with why, where that is known: "eth7 (no memory)"
  std::string devices_unknown{};               // why neither is known; empty: they are
  std::vector<std::pair<std::string_view, std::uint64_t>>
      dropped{};  // packets since it was made, by each reason there is
};

// Of an engine in a node. Connections do not count, since their real servers are gone.
enum class Presence : std::uint8_t {
  kNone,
  kServes,      // there is a virtual server or a rule
  kIdle,        // it serves nothing, or what a data plane had it serve by tables that cannot be found any more
  kOutOfSight,  // its table cannot be found, and who made it is not known: another process may see it, and use it
};

struct Failure {
  std::size_t index = 0;  // in the batch
  Error error;
};

// How engines differ for their users: what the node must provide for it, and what it does by itself.
struct Description {
  std::string_view name{};  // "kernel", "ebpf"
  // It sees packets to this node only (ip_vs hooks into local input): the address of every virtual server must be on a
  // device of the node. Otherwise it takes packets to a virtual server wherever they pass, and no others.
  bool needs_local_addresses = false;
  // It replaces destinations and does nothing else: rules must filter by source, masquerade, and reject. Otherwise it
  // does that by itself, by its service_rules().
  bool needs_helper_rules = false;
  // It follows the kernel's settings net/ipv4/vs/..., which must be right for Services.
  bool needs_ip_vs_settings = false;
  // A client on a loopback address can reach real servers on other nodes.
  bool serves_loopback_clients = false;
  // It keeps and lists real servers of the other forward methods, and drops the packets that would go to one.
  bool only_masquerades = false;
  friend bool operator==(const Description&, const Description&) = default;
};
// That of an engine that is the kernel's ip_vs, or imitates it.
constexpr Description describe_ip_vs(std::string_view name) {
  return {.name = name,
          .needs_local_addresses = true,
          .needs_helper_rules = true,
          .needs_ip_vs_settings = true,
          .serves_loopback_clients = false,
          .only_masquerades = false};
}

class Engine {
 public:
  virtual ~Engine() = default;
  [[nodiscard]] virtual Description description() const = 0;
  [[nodiscard]] std::string_view name() const { return description().name; }
  virtual Result<EngineInfo> info() = 0;

  using Wanted = std::function<bool(const VirtualServerKey&)>;
  // Every wanted virtual server with its real servers, one after the other, in no order. An empty table is no
  // error. Unwanted ones cost little: their real servers are not listed. While another process changes a
  // large table, a server may be missing, and not only one that was added or removed (the kernel finds its place
  // again by counting); adding it then fails with EEXIST. No server is listed twice.
  virtual Result<> list(const Wanted& wanted, const std::function<void(VirtualServerState)>& visit) = 0;
  // One virtual server with its real servers. ESRCH if there is none.
  virtual Result<VirtualServerState> find(const VirtualServerKey& key) = 0;
  // The connection table, in no order. ENOENT if the engine has none to show.
  virtual Result<> connections(const std::function<void(const Connection&)>& visit) = 0;

  // Tries every change, in order, even if earlier ones fail, and returns those that were refused, in
  // order. An Error means that the engine could not be reached: a prefix of the batch is done, and its length is
  // unknown.
  virtual Result<std::vector<Failure>> apply(std::span<const Change> changes) = 0;
  // Removes every virtual server. Connections stay until they expire; timeouts and sync daemons stay.
  virtual Result<> flush() = 0;
  // Counters and rates of one virtual server and its real servers, or of everything, start again at 0. ESRCH if
  // there is none.
  virtual Result<> zero(const std::optional<VirtualServerKey>& key) = 0;

  virtual Result<Timeouts> timeouts() = 0;
  // Nothing is changed if one of them is refused (EINVAL).
  virtual Result<> set_timeouts(const Timeouts& timeouts) = 0;

  // The running ones, master first.
  virtual Result<std::vector<SyncDaemon>> sync_daemons() = 0;
  virtual Result<> start_sync_daemon(const SyncDaemon& daemon) = 0;  // EEXIST if one with that role is running
  virtual Result<> stop_sync_daemon(SyncRole role) = 0;              // ESRCH if none with that role is running

  // What it does with a packet beside choosing its real server (ipvs/service_rules.h); valid as long as the engine.
  // Null: it needs helper rules for that.
  virtual ServiceRules* service_rules() { return nullptr; }

  // Work that only a process can do: hooks on devices that have come, larger tables, objects that may be used again.
  // Called by programs that stay, again after the returned time; nothing: there is never any. Packets are served
  // without it, but worse the longer it is not called. Changes nothing in a table that does not exist.
  virtual Result<std::optional<std::chrono::milliseconds>> tend() { return std::nullopt; }

  // Nothing: it has none, or does not count it. Reads all that it has, so for now and then.
  virtual Result<std::optional<EngineWork>> work() { return std::nullopt; }

  // What a process with few privileges could not do later: kernel settings are read-only there. Serves nothing.
  virtual Result<> prepare_node() { return {}; }

  // What it cannot do in this node, each with the reason ("device eth7: no memory"): what became known since the last
  // call, by any of the engine's objects in this process.
  virtual std::vector<std::string> take_complaints() { return {}; }

  // What it has put into the node in order to serve: programs, hooks, devices, routes, settings.
  virtual Result<Presence> presence() { return Presence::kNone; }
  // Removes that, and the connections. What serves stays as it is. The next change makes everything again.
  virtual Result<> leave_node() { return {}; }
};

// Argument of Engine::list() for all.
inline bool every_virtual_server(const VirtualServerKey&) {
  return true;
}

// Engine::list() of all, collected. For large tables use list() itself.
Result<std::vector<VirtualServerState>> list_all(Engine& engine);

}  // namespace sluice::ipvs
