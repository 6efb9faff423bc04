// SPDX-License-Identifier: Apache-2.0
// Most of ipvsadm's messages are about refusals: which one comes first if several apply is part of the interface. The
// order here is that of ip_vs_genl_set_cmd(), ip_vs_add_service(), ip_vs_add_dest() and start_sync_thread() in
// net/netfilter/ipvs.
#include "ipvs/fake_engine.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include "ipvs/admission.h"
#include "ipvs/engine_errors.h"

namespace sluice::ipvs {
namespace {

constexpr std::uint32_t kSignedMax = std::numeric_limits<std::int32_t>::max();

auto find_real(std::vector<RealServerState>& real_servers, const RealServerKey& key) {
  return std::find_if(real_servers.begin(), real_servers.end(),
                      [&](const RealServerState& r) { return r.server.key == key; });
}

}  // namespace

VirtualServerState* FakeEngine::live(const VirtualServerKey& key) {
  const auto found = servers_.find(key);
  return found == servers_.end() ? nullptr : &found->second;
}

Result<> FakeEngine::list(const Wanted& wanted, const std::function<void(VirtualServerState)>& visit) {
  // Backwards: callers that need an order must sort. By key: the table may be changed meanwhile.
  std::vector<VirtualServerKey> keys;
  keys.reserve(servers_.size());
  for (auto entry = servers_.rbegin(); entry != servers_.rend(); ++entry) keys.push_back(entry->first);
  for (const VirtualServerKey& key : keys) {
    if (!wanted(key)) continue;
    if (const VirtualServerState* state = live(key)) visit(*state);
  }
  return {};
}

Result<VirtualServerState> FakeEngine::find(const VirtualServerKey& key) {
  const VirtualServerState* state = live(key);
  if (state == nullptr) return tl::unexpected(refused_key("find", key, ESRCH));
  return *state;
}

Result<> FakeEngine::connections(const std::function<void(const Connection&)>& visit) {
  for (const Connection& connection : connection_table) visit(connection);
  return {};
}

Result<std::vector<Failure>> FakeEngine::apply(std::span<const Change> changes) {
  ++apply_calls;
  in_node_ = in_node_ || (!changes.empty() && service_rules() != nullptr);
  std::vector<Failure> failures;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const int error = std::visit([&](const auto& c) { return change(c); }, changes[i]);
    if (error != 0) failures.push_back({i, refused(changes[i], error)});
  }
  return failures;
}

int FakeEngine::check_settings(const VirtualServer& server) const {
  return refusal_of_settings(server, host_.schedulers.contains(server.scheduler),
                             host_.persistence_engines.contains(server.persistence_engine));
}

// The kernel counts in ticks of 32 bits and returns seconds.
VirtualServer FakeEngine::as_kept(VirtualServer server) const {
  server.persistence_timeout_s = server.persistence_timeout_s * host_.ticks_per_s / host_.ticks_per_s;
  server.flags &= ~kHashedFlag;
  return server;
}

int FakeEngine::change(const AddVirtualServer& c) {
  if (const int error = refusal_of_names(c.server); error != 0) return error;
  if (servers_.contains(c.server.key)) return EEXIST;
  if (const int error = check_settings(c.server); error != 0) return error;
  servers_[c.server.key].server = as_kept(c.server);
  return 0;
}

int FakeEngine::change(const EditVirtualServer& c) {
  if (const int error = refusal_of_names(c.server); error != 0) return error;
  VirtualServerState* state = live(c.server.key);
  if (state == nullptr) return ESRCH;
  if (const int error = check_settings(c.server); error != 0) return error;
  state->server = as_kept(c.server);
  return 0;
}

int FakeEngine::change(const RemoveVirtualServer& c) {
  return servers_.erase(c.key) == 0 ? ESRCH : 0;
}

bool FakeEngine::usable(const RealServerKey& key) const {
  return may_be_real_server(key) && !host_.broadcasts.contains(key.address);
}

int FakeEngine::change(const AddRealServer& c) {
  VirtualServerState* state = live(c.to);
  if (state == nullptr) return ESRCH;
  if (const int error = refusal_of_settings(c.to, c.server, !daemons_.empty()); error != 0) return error;
  if (find_real(state->real_servers, c.server.key) != state->real_servers.end()) return EEXIST;
  if (!usable(c.server.key)) return EINVAL;
  state->real_servers.insert(state->real_servers.begin(), RealServerState{.server = c.server, .statistics = {}});
  return 0;
}

int FakeEngine::change(const EditRealServer& c) {
  VirtualServerState* state = live(c.of);
  if (state == nullptr) return ESRCH;
  if (const int error = refusal_of_settings(c.of, c.server, !daemons_.empty()); error != 0) return error;
  const auto found = find_real(state->real_servers, c.server.key);
  if (found == state->real_servers.end()) return ENOENT;
  found->server = c.server;
  return 0;
}

int FakeEngine::change(const RemoveRealServer& c) {
  VirtualServerState* state = live(c.from);
  if (state == nullptr) return ESRCH;
  const auto found = find_real(state->real_servers, c.key);
  if (found == state->real_servers.end()) return ENOENT;
  state->real_servers.erase(found);
  return 0;
}

Result<> FakeEngine::flush() {
  servers_.clear();
  return {};
}

Result<> FakeEngine::zero(const std::optional<VirtualServerKey>& key) {
  if (key && live(*key) == nullptr) return tl::unexpected(refused_key("zero", *key, ESRCH));
  for (auto& [each, state] : servers_) {
    if (key && each != *key) continue;
    state.statistics = {};
    for (RealServerState& real : state.real_servers) real.statistics = {};
  }
  return {};
}

Result<> FakeEngine::set_timeouts(const Timeouts& timeouts) {
  const std::uint32_t limit = kSignedMax / host_.ticks_per_s;
  if (std::max({timeouts.tcp_s, timeouts.tcp_fin_s, timeouts.udp_s}) > limit) {
    return tl::unexpected(refused_call("set timeouts", EINVAL));
  }
  if (timeouts.tcp_s != 0) timeouts_.tcp_s = timeouts.tcp_s;
  if (timeouts.tcp_fin_s != 0) timeouts_.tcp_fin_s = timeouts.tcp_fin_s;
  if (timeouts.udp_s != 0) timeouts_.udp_s = timeouts.udp_s;
  return {};
}

Result<std::vector<SyncDaemon>> FakeEngine::sync_daemons() {
  std::vector<SyncDaemon> daemons;
  for (const auto& [role, daemon] : daemons_) daemons.push_back(daemon);
  return daemons;
}

bool FakeEngine::mixes_families() const {
  return std::any_of(servers_.begin(), servers_.end(), [](const auto& entry) {
    const auto& real_servers = entry.second.real_servers;
    return std::any_of(real_servers.begin(), real_servers.end(),
                       [&](const RealServerState& r) { return r.server.key.family != entry.first.family; });
  });
}

// A master fills packets of 1500 bytes whatever its interface; a backup must be able to receive any.
SyncDaemon FakeEngine::with_defaults(SyncDaemon daemon) const {
  if (!daemon.group) daemon.group = IpAddress::from_v4(0xe0000051);
  if (daemon.port == 0) daemon.port = 8848;
  if (daemon.ttl == 0) daemon.ttl = 1;
  const std::uint32_t headers = daemon.group->family() == Family::kIPv4 ? 28 : 48;
  const bool master = daemon.role == SyncRole::kMaster;
  const std::uint32_t mtu = master ? 1500 : std::max<std::uint32_t>(1500, host_.interfaces.at(daemon.interface));
  const std::uint32_t wanted = daemon.message_bytes_max == 0 ? mtu - headers : daemon.message_bytes_max;
  daemon.message_bytes_max =
      static_cast<std::uint16_t>(std::clamp<std::uint32_t>(wanted, master ? 1 : 1024, 65535 - headers));
  return daemon;
}

Result<> FakeEngine::start_sync_daemon(const SyncDaemon& daemon) {
  int error = 0;
  if ((daemon.group && !daemon.group->is_multicast()) || mixes_families()) {
    error = EINVAL;
  } else if (!host_.interfaces.contains(daemon.interface)) {
    error = ENODEV;
  } else if (daemons_.contains(daemon.role)) {
    error = EEXIST;
  }
  if (error != 0) return tl::unexpected(refused_start(daemon, error));
  daemons_[daemon.role] = with_defaults(daemon);
  return {};
}

Result<std::optional<std::chrono::milliseconds>> FakeEngine::tend() {
  ++tend_calls;
  return tend_again;
}

Result<Presence> FakeEngine::presence() {
  if (!in_node_) return Presence::kNone;
  if (out_of_sight) return Presence::kOutOfSight;
  return servers_.empty() && rules_.empty() ? Presence::kIdle : Presence::kServes;
}

Result<> FakeEngine::leave_node() {
  SLUICE_TRY(const Presence now, presence());
  if (now == Presence::kServes) return {};
  in_node_ = false;
  connection_table.clear();
  return {};
}

Result<> FakeEngine::stop_sync_daemon(SyncRole role) {
  if (daemons_.erase(role) == 0) return tl::unexpected(refused_stop(role, ESRCH));
  return {};
}

}  // namespace sluice::ipvs
