// SPDX-License-Identifier: Apache-2.0
// The plan says what to serve; a Plane gets it into the kernel and keeps it there. What makes that more than a call of
// DataPlane::apply():
//
// - Frequency. Changes come in bursts; the runner decides when the next sync may begin (runner.h).
// - Failure. A sync that fails leaves a prefix of its changes live. What was wanted is kept, and the next attempt is a
//   full one, which reads what is live; it comes as soon as the runner allows, or after syncPeriod where a full one has
//   failed, unless a change comes before.
// - Refusal. A Service port that the kernel does not accept stops no other and is retried alone
//   (refused_ports.h).
// - What stays. An object that the kernel does not release is no drift; it is tried again by a full sync now and then.
// - Others. A firewall's reload flushes our tables. Every syncPeriod the data plane is checked for being intact, once
//   an hour everything is rewritten, and with drift repair everything is compared at intervals.
// - Things that end later. A data plane may have work left after apply(), such as a drain; it is called at the time
//   that it returned.
#include "sync/plane.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "base/memory.h"

namespace sluice::sync {
namespace {

constexpr std::size_t kExamplesLogged = 3;
// Refused Service ports that one apply() retries. A bound, so that a cluster full of them delays no change by more
// than what these cost.
constexpr std::size_t kRetriedMax = 32;

std::string examples(const std::vector<std::string>& all) {
  std::string text;
  for (std::size_t i = 0; i < std::min(all.size(), kExamplesLogged); ++i) text += (i == 0 ? "" : "; ") + all[i];
  return text;
}

plan::ServicePortPlanPtr find_port(const plan::Plan& plan, const plan::ServicePortKey& key) {
  const auto service = plan.services.find(key.service);
  if (service == plan.services.end()) return nullptr;
  const auto& ports = service->second.ports;
  const auto found =
      std::find_if(ports.begin(), ports.end(), [&](const plan::ServicePortPlanPtr& port) { return port->key == key; });
  return found == ports.end() ? nullptr : *found;
}

RunnerSettings runner_settings(const LoopSettings& settings) {
  return {.min_interval = settings.min_sync_period,
          .retry_interval = settings.sync_period,
          .max_interval = settings.full_sync_interval};
}

}  // namespace

Plane::Plane(const SyncContext& context, std::unique_ptr<dataplane::DataPlane> data_plane)
    : context_(context),
      data_plane_(std::move(data_plane)),
      family_(data_plane_->family()),
      runner_(runner_settings(context.settings), context.clock) {
  const MutexLock lock(mutex_);
  status_.family = family_;
  status_.data_plane = data_plane_->name();
  status_.capabilities = data_plane_->capabilities();
}

void Plane::note(const plan::Change& change) {
  // Before the first sync the plan itself has what is new. Removals matter: their flows may be stale.
  if (!synced_ && !change.before && !pending_.contains(change.key())) return;
  pending_.add(change);
}

void Plane::request() {
  runner_.request();
  const MutexLock lock(mutex_);
  status_.changes_waiting = pending_.size();
}

Plane::Turn Plane::step(const plan::Planner& planner) {
  if (synced_) run_checks(planner);
  return runner_.due() ? sync(planner) : retry_refused(planner);
}

std::optional<Clock::SteadyTime> Plane::next_wake() const {
  auto wake = runner_.next_run();
  if (!synced_) return wake;
  if (!wake || next_check_ < *wake) wake = next_check_;
  if (next_drift_check_ && *next_drift_check_ < *wake) wake = next_drift_check_;
  if (next_tend_ && *next_tend_ < *wake) wake = next_tend_;
  if (const auto& removal = unremoved_.next_try(); removal && *removal < *wake) wake = removal;
  if (const auto retry = refused_.next_attempt(pending_); retry && !need_full_ && *retry < *wake) wake = retry;
  return wake;
}

void Plane::request_full(std::string_view reason) {
  need_full_ = true;
  runner_.request();
  SLUICE_LOG_V(2, "Full sync requested", {"ipFamily", to_string(family_)}, {"reason", reason});
}

// ---- what others and time do

void Plane::check_integrity(const plan::Planner& planner) {
  const Result<dataplane::Integrity> integrity = data_plane_->intact();
  if (!integrity) {
    if (!std::exchange(check_failure_reported_, true)) {
      SLUICE_LOG_WARNING("Could not check whether our rules are still there, will check again",
                         {"ipFamily", to_string(family_)}, {"err", integrity.error().what});
    }
    return;
  }
  check_failure_reported_ = false;
  switch (*integrity) {
    case dataplane::Integrity::kKept:
      return;
    case dataplane::Integrity::kNodeChanged:
      SLUICE_LOG_INFO("The node's addresses or routes changed, programming everything anew",
                      {"ipFamily", to_string(family_)}, {"dataPlane", data_plane_->name()});
      return request_full("node changed");
    case dataplane::Integrity::kDamaged:
      break;
  }
  // Only for the log: the operator should recognise the change.
  dataplane::Difference difference;
  if (const auto compared = compare(planner); compared && !waiting()) difference = *compared;
  report_drift("Our rules are not as they were written, writing them anew", difference, "flushed");
}

void Plane::check_drift(const plan::Planner& planner) {
  next_drift_check_ = context_.clock.steady_now() + context_.settings.drift_repair_interval;
  const Result<dataplane::Difference> difference = compare(planner);
  if (!difference) {
    SLUICE_LOG_WARNING("Could not compare what is live with the plan, will try again", {"ipFamily", to_string(family_)},
                       {"err", difference.error().what});
    return;
  }
  if (!difference->empty()) report_drift("Our rules were changed by others, repairing them", *difference, "drift");
}

void Plane::report_drift(std::string_view text, const dataplane::Difference& difference, std::string_view reason) {
  SLUICE_LOG_WARNING(text, {"ipFamily", to_string(family_)}, {"dataPlane", data_plane_->name()},
                     {"missing", difference.missing.size()}, {"unexpected", difference.unexpected.size()},
                     {"missingExamples", examples(difference.missing)},
                     {"unexpectedExamples", examples(difference.unexpected)});
  context_.metrics.add_drift_repair(family_);
  request_full(reason);
  const MutexLock lock(mutex_);
  ++status_.drift_repairs;
}

void Plane::tend() {
  const auto again = data_plane_->tend();
  const std::size_t failures = data_plane_->cleanup_failures();
  context_.metrics.add_cleanup_failures(family_, data_plane_->name(),
                                        failures - std::exchange(cleanup_failures_, failures));
  if (!again) {
    // What is left undone now is found again by the next attempt.
    next_tend_ = context_.clock.steady_now() + context_.settings.sync_period;
    if (!std::exchange(tend_failure_reported_, true)) {
      SLUICE_LOG_WARNING("Could not finish what earlier syncs left to do, will try again every sync period",
                         {"ipFamily", to_string(family_)}, {"err", again.error().what});
    }
    return;
  }
  tend_failure_reported_ = false;
  next_tend_.reset();
  if (*again) next_tend_ = context_.clock.steady_now() + **again;
}

void Plane::run_checks(const plan::Planner& planner) {
  const Clock::SteadyTime now = context_.clock.steady_now();
  if (next_tend_ && now >= *next_tend_) tend();
  if (now >= next_check_) {
    next_check_ = now + context_.settings.sync_period;
    note_kernel_work();
    if (!need_full_) check_integrity(planner);
    if (!need_full_ && node_port_addresses() != applied_addresses_) request_full("node port addresses");
    const bool due = now - last_full_ >= context_.settings.full_sync_interval && data_plane_->full_by_time();
    if (!need_full_ && due) request_full("hourly");
  }
  if (unremoved_.take_due(now) && !need_full_) request_full("removals");
  if (next_drift_check_ && now >= *next_drift_check_) {
    // What waits to be programmed would look like drift.
    if (waiting()) {
      next_drift_check_ = now + context_.settings.sync_period;
    } else {
      check_drift(planner);
    }
  }
}

// ---- programming

dataplane::NodePortAddresses Plane::node_port_addresses() const {
  if (!context_.hooks.node_port_addresses) return {};
  return context_.hooks.node_port_addresses(family_);
}

dataplane::Changes Plane::whole_plan(const plan::Planner& planner, dataplane::NodePortAddresses addresses) const {
  dataplane::Changes changes;
  changes.full = true;
  for (const auto& [key, service] : planner.plan().services) {
    for (const plan::ServicePortPlanPtr& port : service.ports) {
      if (port->key.family == family_) changes.ports.push_back({nullptr, port});
    }
  }
  changes.node_port_addresses = std::move(addresses);
  return changes;
}

Plane::Turn Plane::sync(const plan::Planner& planner) {
  dataplane::NodePortAddresses addresses = node_port_addresses();
  const bool full = need_full_ || addresses != applied_addresses_;
  runner_.begin();
  if (!full && pending_.empty()) {  // every port is back where it was
    runner_.finish(true);
    return {.synced = true};
  }
  dataplane::Changes changes;
  if (full) {
    changes = whole_plan(planner, std::move(addresses));
  } else {
    changes.ports = pending_.list();
    add_due_refused(planner, changes.ports);
    changes.node_port_addresses = std::move(addresses);
  }
  const Clock::SteadyTime start = context_.clock.steady_now();
  // Beyond this point the kernel forwards by the new plan, or by a part of it.
  const Result<dataplane::Outcome> outcome = data_plane_->apply(changes);
  const double seconds = to_seconds(context_.clock.steady_now() - start);
  runner_.finish(static_cast<bool>(outcome));
  context_.metrics.observe_sync(family_, data_plane_->name(), full, seconds);
  if (!outcome) {
    failed(changes, outcome.error(), seconds);
    return {};
  }
  // Not of one that failed: what it would refuse, another plane may be serving.
  note_refusals(planner);
  note_unmet_requests();
  return succeeded(changes, *outcome, seconds);
}

void Plane::add_due_refused(const plan::Planner& planner, std::vector<plan::Change>& ports) {
  const std::size_t before = ports.size();
  for (const plan::ServicePortKey& key : refused_.due(context_.clock.steady_now(), kRetriedMax, pending_)) {
    if (const plan::ServicePortPlanPtr port = find_port(planner.plan(), key)) {
      ports.push_back({port, port});
    } else {
      refused_.forget(key);  // it is no longer wanted, and would stay due forever
      export_refused();
    }
  }
  std::inplace_merge(ports.begin(), ports.begin() + static_cast<std::ptrdiff_t>(before), ports.end(),
                     [](const plan::Change& a, const plan::Change& b) { return a.key() < b.key(); });
}

Plane::Turn Plane::retry_refused(const plan::Planner& planner) {
  if (!synced_ || need_full_ || !applied_addresses_) return {};
  dataplane::Changes changes;
  add_due_refused(planner, changes.ports);
  if (changes.ports.empty()) return {};
  changes.node_port_addresses = *applied_addresses_;
  const Clock::SteadyTime start = context_.clock.steady_now();
  const Result<dataplane::Outcome> outcome = data_plane_->apply(changes);
  if (!outcome) {
    runner_.finish(false);
    failed(changes, outcome.error(), to_seconds(context_.clock.steady_now() - start));
    return {};
  }
  Turn turn{.changes = note_outcome(changes, *outcome)};
  tend();
  return turn;
}

// Some other program's hand, mostly, or a lost reply: a full sync is likely to succeed where a partial one has failed, and the change must not wait
// for it. One that fails itself is not repeated so soon.
void Plane::failed(const dataplane::Changes& changes, const Error& error, double seconds) {
  if (!changes.full) runner_.request();
  const Clock::SteadyTime now = context_.clock.steady_now();
  const auto next = runner_.next_run().value_or(now) - now;
  SLUICE_LOG_ERROR("Sync failed", {"ipFamily", to_string(family_)}, {"dataPlane", data_plane_->name()},
                   {"retryingTime", fmt::format("{}s", to_seconds(next))}, {"full", changes.full}, {"err", error.what});
  context_.metrics.add_sync_failure(family_, data_plane_->name(), !changes.full);
  need_full_ = true;
  const MutexLock lock(mutex_);
  status_.last_attempt = context_.clock.wall_now();
  status_.last_error = error.what;
  status_.last_duration_seconds = seconds;
  ++status_.failed_syncs;
  status_.changes_waiting = pending_.size();
}

Plane::Turn Plane::succeeded(const dataplane::Changes& changes, const dataplane::Outcome& outcome, double seconds) {
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
               {"servicePorts", changes.ports.size()}, {"rules", outcome.stats.rules_written});
  synced_ = true;
  need_full_ = false;
  if (changes.full) {
    last_full_ = now;
    release_freed_memory();  // of the decoded lists and of the rules as text
  }
  applied_addresses_ = changes.node_port_addresses;
  Turn turn{.synced = true, .programmed = true, .full = changes.full, .changes = pending_.list()};
  pending_.clear();
  for (plan::Change& let_in : note_outcome(changes, outcome)) turn.changes.push_back(std::move(let_in));
  tend();
  export_rules(outcome.stats);
  if (changes.full) note_kernel_work();
  const MutexLock lock(mutex_);
  record_applied(changes);
  status_.synced = true;
  status_.last_sync = status_.last_attempt = context_.clock.wall_now();
  status_.last_error.clear();
  status_.last_duration_seconds = seconds;
  status_.changes_waiting = 0;
  ++(changes.full ? status_.full_syncs : status_.partial_syncs);
  return turn;
}

Result<dataplane::Difference> Plane::compare(const plan::Planner& planner) {
  if (!synced_) return fail(Errc::kUnavailable, fmt::format("{}: nothing has been programmed yet", to_string(family_)));
  auto difference = data_plane_->compare(whole_plan(planner, *applied_addresses_));
  release_freed_memory();  // of the copy of all that is live
  return difference;
}

// ---- reports to users and metrics

std::vector<plan::Change> Plane::note_outcome(const dataplane::Changes& changes, const dataplane::Outcome& outcome) {
  const RefusedPorts::News news = refused_.note(changes, outcome.refused, context_.clock);
  for (const dataplane::RefusedPort& each : news.refused) {
    SLUICE_LOG_WARNING("The kernel refuses a Service port, everything else is served; will try again",
                       {"servicePort", each.port.printed_name()}, {"protocol", to_string(each.port.protocol)},
                       {"ipFamily", to_string(family_)}, {"reason", each.reason});
    if (context_.hooks.port_refused) context_.hooks.port_refused(each);
  }
  std::vector<plan::Change> let_in;
  for (const plan::ServicePortKey& port : news.let_in) {
    SLUICE_LOG_INFO("A Service port that the kernel refused is served now", {"servicePort", port.printed_name()},
                    {"protocol", to_string(port.protocol)}, {"ipFamily", to_string(family_)});
    for (const plan::Change& change : changes.ports) {
      if (change.key() == port) let_in.push_back({nullptr, change.after});
    }
  }
  export_refused();
  note_unremoved(outcome, changes.full);
  const MutexLock lock(mutex_);
  status_.unremoved = unremoved_.list();
  return let_in;
}

void Plane::export_refused() {
  context_.metrics.set_refused_service_ports(family_, refused_.all().size());
  const MutexLock lock(mutex_);
  status_.refused_ports.clear();
  for (const auto& [port, entry] : refused_.all())
    status_.refused_ports.push_back({port, entry.reason, entry.since, entry.attempts});
}

void Plane::note_unremoved(const dataplane::Outcome& outcome, bool full) {
  for (const std::string& each : unremoved_.note(outcome.unremoved, full, context_.clock.steady_now())) {
    SLUICE_LOG_WARNING("Could not remove an object that is no longer wanted, everything else is served; will try again",
                       {"ipFamily", to_string(family_)}, {"dataPlane", data_plane_->name()}, {"reason", each});
  }
  context_.metrics.set_unremoved_objects(family_, unremoved_.list().size());
}

void Plane::note_refusals(const plan::Planner& planner) {
  std::vector<dataplane::Refusal> refusals = data_plane_->refusals();
  const std::vector<dataplane::Refusal> by_plan = planner.refusals(family_);
  refusals.insert(refusals.end(), by_plan.begin(), by_plan.end());
  std::sort(refusals.begin(), refusals.end());
  // An external IP may be a load balancer's, too.
  std::set<std::tuple<plan::ServicePortKey, std::string, std::string>> addresses;
  std::erase_if(refusals, [&addresses](const dataplane::Refusal& refusal) {
    return !addresses.emplace(refusal.port, plan::to_string(refusal.frontend), refusal.reason).second;
  });
  for (const dataplane::Refusal& refusal : refusals) {
    if (std::binary_search(refusals_.begin(), refusals_.end(), refusal)) continue;
    SLUICE_LOG_WARNING("Refused to serve an address of a Service", {"servicePort", refusal.port.printed_name()},
                       {"address", plan::to_string(refusal.frontend)}, {"reason", refusal.reason});
    if (context_.hooks.address_refused) context_.hooks.address_refused(refusal);
  }
  refusals_ = std::move(refusals);
  context_.metrics.set_refused_addresses(family_, refusals_.size());
  const MutexLock lock(mutex_);
  status_.refusals = refusals_;
}

void Plane::note_unmet_requests() {
  std::vector<dataplane::UnmetRequest> unmet = data_plane_->unmet_requests();
  for (const dataplane::UnmetRequest& each : unmet) {
    if (std::binary_search(unmet_requests_.begin(), unmet_requests_.end(), each)) continue;
    SLUICE_LOG_WARNING(
        "A Service's annotation requests something that this mode does not support; it is served without it",
        {"service", each.service.to_string()}, {"ipFamily", to_string(family_)}, {"dataPlane", data_plane_->name()},
        {"why", each.why});
    if (context_.hooks.request_unmet) context_.hooks.request_unmet(each);
  }
  context_.metrics.set_unmet_requests(family_, unmet.size());
  if (unmet == unmet_requests_) return;
  unmet_requests_ = std::move(unmet);
  const MutexLock lock(mutex_);
  status_.unmet_requests = unmet_requests_;
}

void Plane::note_kernel_work() {
  std::optional<dataplane::KernelWork> work = data_plane_->kernel_work();
  if (work) {
    for (const auto& [reason, packets] : work->dropped)
      context_.metrics.set_dropped_packets(data_plane_->name(), reason, packets);
  }
  const MutexLock lock(mutex_);
  status_.kernel_work = std::move(work);
}

void Plane::export_rules(const dataplane::ApplyStats& stats) {
  for (const auto& [table, total] : data_plane_->rules_by_table()) {
    std::size_t written = 0;
    for (const auto& [name, rules] : stats.written_by_table) written += name == table ? rules : 0;
    context_.metrics.set_rules(family_, data_plane_->name(), table, total, written);
  }
}

void Plane::set_applied(const plan::ServicePortKey& key, const plan::ServicePortPlanPtr& port) {
  const auto known = applied_.find(key);
  if (known != applied_.end()) {
    status_.real_servers -= (*known)->real_servers.size();
    applied_.erase(known);
  }
  if (port) {
    status_.real_servers += port->real_servers.size();
    applied_.insert(applied_.end(), port);  // the hint is right for a full sync, where keys are in order
  }
  status_.service_ports = applied_.size();
}

void Plane::record_applied(const dataplane::Changes& changes) {
  if (changes.full) {
    applied_.clear();
    status_.real_servers = 0;
    status_.service_ports = 0;
  }
  for (const plan::Change& change : changes.ports) set_applied(change.key(), change.after);
}

FamilyStatus Plane::status() const {
  const MutexLock lock(mutex_);
  return status_;
}

void Plane::append_served(std::vector<plan::ServicePortPlanPtr>& to) const {
  const MutexLock lock(mutex_);
  to.insert(to.end(), applied_.begin(), applied_.end());
}

}  // namespace sluice::sync
