// SPDX-License-Identifier: Apache-2.0
// The plan says what to serve; this file gets it into the kernel and keeps it there. Five things make that more than a
// call of DataPlane::apply():
//  - Frequency. Changes come in bursts; the runner says when the next sync may begin (runner.h).
//  - Failure. A sync that fails leaves a prefix of its changes live. What was wanted is kept, and the next attempt is a
//  full one,
//    which reads what is live; it comes after syncPeriod or with the next change, whichever is first.
//  - Other people. A firewall's reload flushes our tables. Every syncPeriod the data plane is asked whether it is
//  intact, once an
//    hour everything is written anew, and with drift repair everything is compared now and then.
//  - Things that end later. A data plane may have work left after apply(), such as a drain; it is asked when it said
//  so.
//  - Old flows. UDP flows to endpoints that went are deleted after the rules have changed (conntrack_cleaner.h).
#include "sync/family_sync.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/log.h"
#include "base/memory.h"

namespace sluice::sync {
namespace {

// kube-proxy's threshold of large cluster mode, in which it gives up the hourly full sync.
constexpr std::size_t kLargeClusterEndpoints = 1000;
// Trigger times kept for a family that cannot be programmed; more say nothing new.
constexpr std::size_t kTriggersMax = 10'000;
constexpr std::size_t kExamplesLogged = 3;

double to_seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

std::string examples(const std::vector<std::string>& all) {
  std::string text;
  for (std::size_t i = 0; i < std::min(all.size(), kExamplesLogged); ++i) text += (i == 0 ? "" : "; ") + all[i];
  return text;
}

RunnerSettings runner_settings(const LoopSettings& settings) {
  return {.min_interval = settings.min_sync_period,
          .retry_interval = settings.sync_period,
          .max_interval = settings.full_sync_interval};
}

}  // namespace

FamilySync::FamilySync(const SyncContext& context, std::unique_ptr<dataplane::DataPlane> data_plane)
    : context_(context),
      data_plane_(std::move(data_plane)),
      family_(data_plane_->family()),
      runner_(runner_settings(context.settings), context.clock) {
  const MutexLock lock(mutex_);
  status_.family = family_;
  status_.data_plane = data_plane_->name();
}

void FamilySync::start() {
  context_.health.loop_started(family_);
  context_.metrics.set_sync_queued(family_, context_.clock.wall_now());
}

void FamilySync::note(const plan::Change& change) {
  cleaner_.note(change);
  batch_changed_ = true;
  // Before the first sync the plan itself says what is new. What went is worth knowing: its flows may be stale.
  if (!synced_ && !change.before && !pending_.contains(change.key())) return;
  pending_.add(change);
}

void FamilySync::note_triggers(const plan::ObjectKey& service, const std::vector<std::int64_t>& trigger_times_ns) {
  const auto start =
      std::chrono::duration_cast<std::chrono::nanoseconds>(context_.process_start.time_since_epoch()).count();
  for (const std::int64_t time : trigger_times_ns) {
    if (time < start || triggers_count_ >= kTriggersMax) continue;
    triggers_[service].push_back(time);
    ++triggers_count_;
  }
}

void FamilySync::forget_triggers(const plan::ObjectKey& service) {
  const auto known = triggers_.find(service);
  if (known == triggers_.end()) return;
  triggers_count_ -= known->second.size();
  triggers_.erase(known);
}

void FamilySync::changed() {
  if (!std::exchange(batch_changed_, false) || !planned_) return;
  runner_.request();
  context_.health.queued(family_);
  context_.metrics.set_sync_queued(family_, context_.clock.wall_now());
  const MutexLock lock(mutex_);
  status_.changes_waiting = pending_.size();
}

void FamilySync::plan_ready() {
  planned_ = true;
  batch_changed_ = true;
  changed();
}

bool FamilySync::step(const plan::Planner& planner) {
  if (!planned_) return false;
  if (synced_) run_checks(planner);
  if (!runner_.due()) return false;
  return sync(planner);
}

std::optional<Clock::SteadyTime> FamilySync::next_wake() const {
  if (!planned_) return std::nullopt;
  auto wake = runner_.next_run();
  if (!synced_) return wake;
  if (!wake || next_check_ < *wake) wake = next_check_;
  if (next_drift_check_ && *next_drift_check_ < *wake) wake = next_drift_check_;
  if (next_tend_ && *next_tend_ < *wake) wake = next_tend_;
  return wake;
}

void FamilySync::request_full(std::string_view reason) {
  need_full_ = true;
  runner_.request();
  SLUICE_LOG_V(2, "Full sync requested", {"ipFamily", to_string(family_)}, {"reason", reason});
}

void FamilySync::check_canary(const plan::Planner& planner) {
  const Result<bool> intact = data_plane_->intact();
  if (!intact) {
    if (!std::exchange(canary_failure_logged_, true)) {
      SLUICE_LOG_WARNING("Could not look whether our rules are still there, will look again",
                         {"ipFamily", to_string(family_)}, {"err", intact.error().what});
    }
    return;
  }
  canary_failure_logged_ = false;
  if (*intact) return;
  // Only for the words: whoever did it shall find it again.
  dataplane::Difference difference;
  if (const auto compared = compare(planner); compared && !waiting()) difference = *compared;
  SLUICE_LOG_WARNING("Our rules are not as they were written, or the node's addresses changed; writing them anew",
                     {"ipFamily", to_string(family_)}, {"dataPlane", data_plane_->name()},
                     {"missing", difference.missing.size()}, {"unexpected", difference.unexpected.size()},
                     {"missingExamples", examples(difference.missing)},
                     {"unexpectedExamples", examples(difference.unexpected)});
  context_.metrics.add_drift_repair(family_);
  request_full("flushed");
  const MutexLock lock(mutex_);
  ++status_.drift_repairs;
}

void FamilySync::tend() {
  const auto again = data_plane_->tend();
  if (!again) {
    // What is left undone now is found again by the next attempt.
    next_tend_ = context_.clock.steady_now() + context_.settings.sync_period;
    if (!std::exchange(tend_failure_logged_, true)) {
      SLUICE_LOG_WARNING("Could not finish what earlier syncs left to do, will try again every sync period",
                         {"ipFamily", to_string(family_)}, {"err", again.error().what});
    }
    return;
  }
  tend_failure_logged_ = false;
  next_tend_.reset();
  if (*again) next_tend_ = context_.clock.steady_now() + **again;
}

void FamilySync::note_refusals() {
  std::vector<dataplane::Refusal> refusals = data_plane_->refusals();
  for (const dataplane::Refusal& refusal : refusals) {
    if (std::find(refusals_.begin(), refusals_.end(), refusal) != refusals_.end()) continue;
    SLUICE_LOG_WARNING("Refused to serve an address of a Service", {"servicePort", refusal.port.printed_name()},
                       {"address", refusal.address.to_string()}, {"reason", refusal.reason});
    if (context_.hooks.address_refused) context_.hooks.address_refused(refusal);
  }
  refusals_ = std::move(refusals);
  context_.metrics.set_refused_addresses(family_, refusals_.size());
  const MutexLock lock(mutex_);
  status_.refusals = refusals_;
}

void FamilySync::check_drift(const plan::Planner& planner) {
  next_drift_check_ = context_.clock.steady_now() + context_.settings.drift_repair_interval;
  const Result<dataplane::Difference> difference = compare(planner);
  if (!difference) {
    SLUICE_LOG_WARNING("Could not compare what is live with the plan, will try again", {"ipFamily", to_string(family_)},
                       {"err", difference.error().what});
    return;
  }
  if (difference->empty()) return;
  SLUICE_LOG_WARNING("Our rules were changed by somebody else, repairing them", {"ipFamily", to_string(family_)},
                     {"missing", difference->missing.size()}, {"unexpected", difference->unexpected.size()},
                     {"missingExamples", examples(difference->missing)},
                     {"unexpectedExamples", examples(difference->unexpected)});
  context_.metrics.add_drift_repair(family_);
  request_full("drift");
  const MutexLock lock(mutex_);
  ++status_.drift_repairs;
}

void FamilySync::run_checks(const plan::Planner& planner) {
  const Clock::SteadyTime now = context_.clock.steady_now();
  if (next_tend_ && now >= *next_tend_) tend();
  if (now >= next_check_) {
    next_check_ = now + context_.settings.sync_period;
    if (!need_full_) check_canary(planner);
    if (!need_full_ && node_port_addresses() != applied_addresses_) request_full("node port addresses");
    if (!need_full_ && now - last_full_ >= context_.settings.full_sync_interval && !large_cluster(planner))
      request_full("hourly");
    if (!waiting() && (clean_everything_ || !unclean_.empty())) clean_due_ = true;  // the last attempt failed
  }
  if (next_drift_check_ && now >= *next_drift_check_) {
    // What waits to be programmed would look like drift.
    if (waiting()) {
      next_drift_check_ = now + context_.settings.sync_period;
    } else {
      check_drift(planner);
    }
  }
}

bool FamilySync::large_cluster(const plan::Planner& planner) const {
  return planner.endpoints_known(family_) > kLargeClusterEndpoints;
}

dataplane::NodePortAddresses FamilySync::node_port_addresses() const {
  if (!context_.hooks.node_port_addresses) return {};
  return context_.hooks.node_port_addresses(family_);
}

dataplane::Changes FamilySync::whole_plan(const plan::Planner& planner, dataplane::NodePortAddresses addresses) const {
  dataplane::Changes changes;
  changes.full = true;
  for (const auto& [key, service] : planner.plan().services) {
    for (const plan::ServicePortPlanPtr& port : service.ports) {
      if (port->key.family == family_) changes.ports.push_back({nullptr, port});
    }
  }
  changes.node_port_addresses = std::move(addresses);
  changes.endpoints_known = planner.endpoints_known(family_);
  return changes;
}

bool FamilySync::sync(const plan::Planner& planner) {
  dataplane::NodePortAddresses addresses = node_port_addresses();
  const bool full = need_full_ || addresses != applied_addresses_;
  runner_.begin();
  if (!full && pending_.empty()) {  // every port is back where it was
    runner_.finish(true);
    triggers_.clear();
    triggers_count_ = 0;
    context_.health.synced(family_);
    return true;
  }
  dataplane::Changes changes;
  if (full) {
    changes = whole_plan(planner, std::move(addresses));
  } else {
    changes.ports = pending_.list();
    changes.node_port_addresses = std::move(addresses);
    changes.endpoints_known = planner.endpoints_known(family_);
  }
  const Clock::SteadyTime start = context_.clock.steady_now();
  // Beyond this point the kernel forwards by the new plan, or by a part of it.
  const Result<dataplane::ApplyStats> stats = data_plane_->apply(changes);
  const double seconds = to_seconds(context_.clock.steady_now() - start);
  runner_.finish(static_cast<bool>(stats));
  context_.metrics.observe_sync(family_, full, seconds);
  note_refusals();
  if (!stats) {
    failed(changes, stats.error(), seconds);
    return false;
  }
  succeeded(changes, *stats, seconds);
  return true;
}

void FamilySync::failed(const dataplane::Changes& changes, const Error& error, double seconds) {
  SLUICE_LOG_ERROR("Sync failed", {"ipFamily", to_string(family_)}, {"dataPlane", data_plane_->name()},
                   {"retryingTime", fmt::format("{}s", to_seconds(context_.settings.sync_period))},
                   {"full", changes.full}, {"err", error.what});
  context_.metrics.add_restore_failure(family_, !changes.full);
  need_full_ = true;
  const MutexLock lock(mutex_);
  status_.last_attempt = context_.clock.wall_now();
  status_.last_error = error.what;
  status_.last_duration_seconds = seconds;
  ++status_.failed_syncs;
  status_.changes_waiting = pending_.size();
}

void FamilySync::set_applied(const plan::ServicePortKey& key, const plan::ServicePortPlanPtr& port) {
  const auto known = applied_.find(key);
  if (known != applied_.end()) {
    status_.real_servers -= (*known)->real_servers.size();
    applied_.erase(known);
  }
  if (port) {
    status_.real_servers += port->real_servers.size();
    applied_.insert(applied_.end(), port);  // the hint is right for a full sync, where keys come in order
  }
  status_.service_ports = applied_.size();
}

void FamilySync::record_applied(const dataplane::Changes& changes) {
  if (changes.full) {
    applied_.clear();
    status_.real_servers = 0;
    status_.service_ports = 0;
  }
  for (const plan::Change& change : changes.ports) set_applied(change.key(), change.after);
}

void FamilySync::observe_programming_latency() {
  const Clock::WallTime now = context_.clock.wall_now();
  for (const auto& [service, times] : triggers_) {
    for (const std::int64_t time : times) {
      const auto since = now.time_since_epoch() - std::chrono::nanoseconds(time);
      context_.metrics.observe_network_programming(
          family_, std::max(0.0, to_seconds(since)));  // the API server's clock may be ahead
    }
  }
  triggers_.clear();
  triggers_count_ = 0;
}

void FamilySync::succeeded(const dataplane::Changes& changes, const dataplane::ApplyStats& stats, double seconds) {
  const Clock::SteadyTime now = context_.clock.steady_now();
  if (!synced_) {
    SLUICE_LOG_INFO("Programmed all Services", {"ipFamily", to_string(family_)}, {"dataPlane", data_plane_->name()},
                    {"servicePorts", changes.ports.size()}, {"elapsed", fmt::format("{:.6f}s", seconds)});
    next_check_ = now + context_.settings.sync_period;
    if (context_.settings.drift_repair_interval.count() > 0)
      next_drift_check_ = now + context_.settings.drift_repair_interval;
  }
  SLUICE_LOG_V(2, "SyncProxyRules complete", {"ipFamily", to_string(family_)},
               {"elapsed", fmt::format("{:.6f}s", seconds)}, {"full", changes.full},
               {"servicePorts", changes.ports.size()}, {"rules", stats.rules_written});
  synced_ = true;
  need_full_ = false;
  if (changes.full) {
    last_full_ = now;
    release_freed_memory();  // of the lists that were decoded and of the rules as text
    // What was live before is not known: an earlier process' plan, the prefix of a failed sync, or nothing after a
    // flush, when packets passed without translation. So any flow may be stale.
    clean_everything_ = true;
  }
  applied_addresses_ = changes.node_port_addresses;
  for (const plan::Change& change : pending_.list()) unclean_.add(change);
  pending_.clear();
  clean_due_ = true;

  tend();
  context_.health.synced(family_);
  context_.metrics.set_sync_succeeded(family_, context_.clock.wall_now());
  observe_programming_latency();
  for (const auto& [table, total] : data_plane_->rules_by_table()) {
    std::size_t written = 0;
    for (const auto& [name, rules] : stats.written_by_table) written += name == table ? rules : 0;
    context_.metrics.set_iptables_rules(family_, table, total, written);
  }
  const MutexLock lock(mutex_);
  record_applied(changes);
  status_.synced = true;
  status_.last_sync = status_.last_attempt = context_.clock.wall_now();
  status_.last_error.clear();
  status_.last_duration_seconds = seconds;
  status_.changes_waiting = 0;
  ++(changes.full ? status_.full_syncs : status_.partial_syncs);
}

NodePortScope FamilySync::node_port_scope() const {
  if (applied_addresses_ && !applied_addresses_->all_local) {
    return std::set<IpAddress>(applied_addresses_->addresses.begin(), applied_addresses_->addresses.end());
  }
  if (!context_.hooks.local_addresses) return std::nullopt;
  const auto addresses = context_.hooks.local_addresses();
  if (!addresses) {
    SLUICE_LOG_WARNING("Could not list this node's addresses, leaving doubtful UDP flows to node ports alone",
                       {"err", addresses.error().what});
    return std::nullopt;
  }
  return std::set<IpAddress>(addresses->begin(), addresses->end());
}

void FamilySync::clean_conntrack() {
  if (!std::exchange(clean_due_, false)) return;
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
      if (!std::exchange(clean_failure_logged_, true)) {
        SLUICE_LOG_ERROR("Failed to delete stale UDP conntrack entries, will try again every sync period",
                         {"ipFamily", to_string(family_)}, {"err", deleted.error().what});
      }
      clean_everything_ = true;  // later changes may hide what these would have cleaned up
      return;
    }
    context_.metrics.observe_conntrack_sync(family_, to_seconds(context_.clock.steady_now() - start), *deleted);
    SLUICE_LOG_V(2, "Deleted stale UDP conntrack entries", {"ipFamily", to_string(family_)}, {"count", *deleted});
  }
  clean_failure_logged_ = false;
  clean_everything_ = false;
  unclean_.clear();
}

Result<dataplane::Difference> FamilySync::compare(const plan::Planner& planner) {
  if (!synced_) return fail(Errc::kUnavailable, fmt::format("{}: nothing has been programmed yet", to_string(family_)));
  return data_plane_->compare(whole_plan(planner, *applied_addresses_));
}

FamilyStatus FamilySync::status() const {
  const MutexLock lock(mutex_);
  return status_;
}

void FamilySync::append_served(std::vector<plan::ServicePortPlanPtr>& to) const {
  const MutexLock lock(mutex_);
  to.insert(to.end(), applied_.begin(), applied_.end());
}

}  // namespace sluice::sync
