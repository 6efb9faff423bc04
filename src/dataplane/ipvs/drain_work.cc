// SPDX-License-Identifier: Apache-2.0
// What a data plane does later than apply(): it removes real servers whose connections have ended. A plane that
// retires does the same with all its real servers: at weight 0 the kernel gives them no new connections, and continues
// those that exist.
#include <fmt/format.h>

#include <algorithm>

#include "dataplane/ipvs/ipvs_data_plane.h"

namespace sluice::dataplane::ipvs {

using sluice::ipvs::EditRealServer;
using sluice::ipvs::RemoveRealServer;

Result<> IpvsDataPlane::finish_drains(const std::vector<VirtualServerKey>& keys, Run& run) {
  const Clock::SteadyTime now = clock_.steady_now();
  std::vector<TableChange> removals;
  for (const VirtualServerKey& key : keys) {
    const auto state = engine_->find(key);
    if (!state && state.error().code != Errc::kNotFound) return tl::unexpected(state.error());
    std::map<RealServerKey, std::uint32_t> connections;
    if (state) {
      for (const auto& each : state->real_servers)
        connections[each.server.key] = each.active_connections + each.inactive_connections;
    }
    for (const auto& [real_server, deadline] : drains_.of(key)) {
      const auto there = connections.find(real_server);
      const bool gone = there == connections.end();
      if (!gone && there->second > 0 && deadline > now) continue;
      if (!gone) removals.push_back(RemoveRealServer{key, real_server});
      drains_.end(key, real_server);
    }
  }
  return write(removals, run);
}

Result<std::optional<std::chrono::milliseconds>> IpvsDataPlane::tend() {
  const Clock::SteadyTime now = clock_.steady_now();
  const std::vector<VirtualServerKey> due = drains_.due(now);
  for (const VirtualServerKey& key : due) drains_.looked_at(key, now);
  Run run;
  const auto finished = finish_drains(due, run);
  std::vector<std::string> problems = run.unremoved;
  if (!finished) problems.push_back(finished.error().what);
  for (const auto& [port, reasons] : run.refused) problems.insert(problems.end(), reasons.begin(), reasons.end());
  // Whatever the drains met, the engine's own work is done.
  const auto engine = engine_->tend();
  if (!engine) problems.push_back(engine.error().what);
  for (std::string& each : engine_->take_complaints()) warn_once(std::nullopt, std::move(each));
  if (!problems.empty()) return fail(Errc::kUnavailable, in_short(problems));
  std::optional<std::chrono::milliseconds> wait = *engine;
  if (const auto next = drains_.next()) {
    const auto until = std::chrono::ceil<std::chrono::milliseconds>(*next - now);
    wait = std::min(wait.value_or(until), std::max(until, std::chrono::milliseconds(0)));
  }
  return wait;
}

Result<> IpvsDataPlane::retire() {
  if (!served_) return {};
  const Clock::SteadyTime now = clock_.steady_now();
  SLUICE_TRY(const LiveTable live, list_live(*engine_, settings_.family));
  std::vector<TableChange> resting;
  for (const auto& [key, virtual_server] : live) {
    if (served_->owner(key) == nullptr) continue;
    for (RealServer server : virtual_server.real_servers) {
      drains_.begin(key, server.key, now + options_.drain_timeout, now);
      if (std::exchange(server.weight, 0) != 0) resting.push_back(EditRealServer{key, server});
    }
  }
  Run run;
  SLUICE_CHECK_OK(write(resting, run));
  if (run.surprise) return tl::unexpected(*std::move(run.surprise));
  return {};
}

}  // namespace sluice::dataplane::ipvs
