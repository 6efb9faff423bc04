// SPDX-License-Identifier: Apache-2.0
// A proxy that is idle is healthy, and so is one that has not started; one that has work and does not finish it is not.
// Cloud balancers send a node no new connections while /healthz returns 503, so it also reports on the node: one that
// is being deleted, or that the autoscaler is about to remove, should get none. /livez reports only on the process, so
// that it is not restarted because of its node. The bodies are those of kube-proxy 1.36 (pkg/proxy/healthcheck); a node
// that is not eligible has one field more, the reason, since a 503 with "healthy":true would be puzzling.
#include "observe/health.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/json.h"

namespace sluice::observe {
namespace {

constexpr int kOk = 200;
constexpr int kUnavailable = 503;
constexpr std::string_view kNever = "0001-01-01T00:00:00Z";  // Go's zero time

// Go's RFC3339Nano: nanoseconds without their trailing zeros.
std::string timestamp(Clock::WallTime time) {
  const auto since_epoch = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  const std::time_t seconds = static_cast<std::time_t>(since_epoch / 1000000000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::string fraction = fmt::format(".{:09}", since_epoch % 1000000000);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  if (fraction == ".") fraction.clear();
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, fraction);
}

}  // namespace

void Health::loop_started(Family family) {
  const MutexLock lock(mutex_);
  FamilyState& state = families_[static_cast<std::size_t>(family)];
  state.started = true;
  state.last_updated = clock_.wall_now();
  // Changes queued while the API's first lists were loading could not have been synced: their wait begins now.
  if (state.oldest_queued) state.oldest_queued = clock_.steady_now();
}

void Health::queued(Family family) {
  const MutexLock lock(mutex_);
  FamilyState& state = families_[static_cast<std::size_t>(family)];
  if (!state.oldest_queued) state.oldest_queued = clock_.steady_now();
}

void Health::synced(Family family) {
  const MutexLock lock(mutex_);
  FamilyState& state = families_[static_cast<std::size_t>(family)];
  state.oldest_queued.reset();
  state.last_updated = clock_.wall_now();
}

void Health::set_node(std::string problem) {
  const MutexLock lock(mutex_);
  node_problem_ = std::move(problem);
}

void Health::explain_unknown_node(std::function<std::string()> why) {
  const MutexLock lock(mutex_);
  why_unknown_ = std::move(why);
}

// Empty where the node is eligible. The explanation may take locks of its own, so it is called without ours.
std::string Health::node_problem() const {
  std::function<std::string()> why;
  {
    const MutexLock lock(mutex_);
    if (node_problem_) return *node_problem_;
    why = why_unknown_;
  }
  return why ? why() : "this node's Node object is not known";
}

bool Health::family_healthy(const FamilyState& state, Clock::SteadyTime now) const {
  return !state.started || !state.oldest_queued || now - *state.oldest_queued < timeout_;
}

bool Health::healthy() const {
  const MutexLock lock(mutex_);
  const auto now = clock_.steady_now();
  return family_healthy(families_[0], now) && family_healthy(families_[1], now);
}

Health::Response Health::healthz() const {
  const std::string problem = node_problem();
  return response(&problem);
}
Health::Response Health::livez() const {
  return response(nullptr);
}

// Null where the Node does not matter.
Health::Response Health::response(const std::string* node_problem) const {
  const MutexLock lock(mutex_);
  const auto now = clock_.steady_now();
  bool healthy = true;
  std::optional<Clock::WallTime> newest;
  std::string families;
  for (const Family family : kFamilies) {
    const FamilyState& state = families_[static_cast<std::size_t>(family)];
    const bool well = family_healthy(state, now);
    healthy = healthy && well;
    if (!state.started) continue;
    newest = std::max(newest.value_or(state.last_updated), state.last_updated);
    families += fmt::format(R"({}"{}":{{"lastUpdated":"{}","healthy":{}}})", families.empty() ? "" : ",",
                            to_string(family), timestamp(state.last_updated), well);
  }
  const int status = healthy && (node_problem == nullptr || node_problem->empty()) ? kOk : kUnavailable;
  const std::string current = timestamp(clock_.wall_now());
  // A healthy response has the time of the request; an unhealthy one that since when it is so.
  const std::string last_updated = status == kOk ? current : newest ? timestamp(*newest) : std::string(kNever);
  std::string node;
  if (node_problem != nullptr) {
    node = node_problem->empty() ? R"("nodeEligible":true,)"
                                 : fmt::format(R"("nodeEligible":false,"nodeProblem":{},)", json_string(*node_problem));
  }
  return {status, fmt::format(R"({{"lastUpdated":"{}","currentTime":"{}",{}"healthy":{},"status":{{{}}}}})",
                              last_updated, current, node, healthy, families)};
}

}  // namespace sluice::observe
