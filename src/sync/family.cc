// SPDX-License-Identifier: Apache-2.0
// A family hands each change to its planes and handles the effects of a sync outside of them. UDP flows to endpoints
// that are gone are deleted after the rules have changed (conntrack_cleaner.h): before, a client's next packet would
// bring the same flow back.
#include "sync/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/log.h"

namespace sluice::sync {
namespace {

// Trigger times kept for a family that cannot be programmed; more add nothing.
constexpr std::size_t kTriggersMax = 10'000;

}  // namespace

ServedFamily::ServedFamily(const SyncContext& context, Family family)
    : context_(context), family_(family), planes_(context, family) {}

void ServedFamily::start() {
  context_.health.loop_started(family_);
  context_.metrics.set_sync_queued(family_, context_.clock.wall_now());
}

void ServedFamily::note(const plan::Change& change) {
  cleaner_.note(change);
  batch_changed_ = true;
  planes_.note(change);
}

void ServedFamily::note_triggers(const plan::ObjectKey& service, const std::vector<std::int64_t>& trigger_times_ns) {
  const auto start =
      std::chrono::duration_cast<std::chrono::nanoseconds>(context_.process_start.time_since_epoch()).count();
  for (const std::int64_t time : trigger_times_ns) {
    if (time < start || triggers_count_ >= kTriggersMax) continue;
    triggers_[service].push_back(time);
    ++triggers_count_;
  }
}

void ServedFamily::forget_triggers(const plan::ObjectKey& service) {
  const auto known = triggers_.find(service);
  if (known == triggers_.end()) return;
  triggers_count_ -= known->second.size();
  triggers_.erase(known);
}

void ServedFamily::changed() {
  if (!std::exchange(batch_changed_, false) || !planned_) return;
  planes_.request();
  context_.health.queued(family_);
  context_.metrics.set_sync_queued(family_, context_.clock.wall_now());
}

void ServedFamily::plan_ready() {
  planned_ = true;
  batch_changed_ = true;
  changed();
}

bool ServedFamily::waiting() const {
  return planned_ && planes_.current() != nullptr && planes_.current()->waiting();
}

Result<dataplane::Difference> ServedFamily::compare(const plan::Planner& planner) {
  if (planes_.current() == nullptr)
    return fail(Errc::kUnavailable, fmt::format("{}: no data plane was opened", to_string(family_)));
  return planes_.current()->compare(planner);
}

bool ServedFamily::step(const plan::Planner& planner) {
  if (!planned_) return false;
  if (clean_again_ && context_.clock.steady_now() >= *clean_again_ && !waiting()) {
    clean_again_.reset();
    clean_due_ = true;
  }
  const Plane::Turn turn = planes_.step(planner);
  // After a full sync any flow may be stale: what was live before is an earlier process' plan, the prefix of a failed
  // sync, or nothing, when packets passed without translation.
  if (turn.full) clean_everything_ = true;
  for (const plan::Change& change : turn.changes) unclean_.add(change);
  if (turn.programmed || !turn.changes.empty()) clean_due_ = true;
  if (!turn.synced) return false;
  context_.health.synced(family_);
  if (turn.programmed) {
    context_.metrics.set_sync_succeeded(family_, context_.clock.wall_now());
    observe_programming_latency();
  }
  triggers_.clear();
  triggers_count_ = 0;
  return true;
}

std::optional<Clock::SteadyTime> ServedFamily::next_wake() const {
  if (!planned_) return std::nullopt;
  auto wake = planes_.next_wake();
  // What waits to be programmed will clean the flows anyway.
  if (clean_again_ && !waiting() && (!wake || *clean_again_ < *wake)) wake = clean_again_;
  return wake;
}

void ServedFamily::observe_programming_latency() {
  const Clock::WallTime now = context_.clock.wall_now();
  for (const auto& [service, times] : triggers_) {
    for (const std::int64_t time : times) {
      const auto since = now.time_since_epoch() - std::chrono::nanoseconds(time);
      // The API server's clock may be ahead.
      context_.metrics.observe_network_programming(family_, std::max(0.0, to_seconds(since)));
    }
  }
}

NodePortScope ServedFamily::node_port_scope() const {
  const Plane* plane = planes_.current();
  if (const auto served = plane != nullptr ? plane->served_addresses() : std::nullopt; served && !served->all_local)
    return std::set<IpAddress>(served->addresses.begin(), served->addresses.end());
  if (!context_.hooks.local_addresses) return std::nullopt;
  const auto addresses = context_.hooks.local_addresses();
  if (!addresses) {
    SLUICE_LOG_WARNING("Could not list this node's addresses, leaving doubtful UDP flows to node ports alone",
                       {"err", addresses.error().what});
    return std::nullopt;
  }
  return std::set<IpAddress>(addresses->begin(), addresses->end());
}

void ServedFamily::clean_conntrack() {
  if (!std::exchange(clean_due_, false)) return;
  clean_again_.reset();
  const auto scope = [this] { return node_port_scope(); };
  std::optional<StaleFlows> stale;
  if (context_.hooks.delete_udp_flows) {
    const std::vector<plan::Change> changes = unclean_.list();
    stale = clean_everything_ ? cleaner_.stale_after_full_sync(changes, scope) : cleaner_.stale_after(changes, scope);
  }
  if (stale) {
    const Clock::SteadyTime start = context_.clock.steady_now();
    const auto deleted = context_.hooks.delete_udp_flows(family_, std::cref(*stale));
    if (!deleted) {
      if (!std::exchange(clean_failure_reported_, true)) {
        SLUICE_LOG_ERROR("Failed to delete stale UDP conntrack entries, will try again every sync period",
                         {"ipFamily", to_string(family_)}, {"err", deleted.error().what});
      }
      clean_everything_ = true;  // later changes may hide what these would have cleaned up
      clean_again_ = context_.clock.steady_now() + context_.settings.sync_period;
      return;
    }
    context_.metrics.observe_conntrack_sync(family_, to_seconds(context_.clock.steady_now() - start), *deleted);
    SLUICE_LOG_V(2, "Deleted stale UDP conntrack entries", {"ipFamily", to_string(family_)}, {"count", *deleted});
  }
  clean_failure_reported_ = false;
  clean_everything_ = false;
  unclean_.clear();
}

}  // namespace sluice::sync
