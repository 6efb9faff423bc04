// SPDX-License-Identifier: Apache-2.0
// A kernel without SCTP refuses an SCTP port today and tomorrow, until a module is loaded. Nothing notifies us,
// so the port is retried, less and less often. Whatever may make it acceptable sooner (a change of the port, a full
// apply after the node's addresses changed) tries it anyway, and the result is noted here too.
#include "sync/refused_ports.h"

#include <algorithm>
#include <set>

namespace sluice::sync {
namespace {

std::chrono::nanoseconds wait_after(std::size_t attempts) {
  std::chrono::nanoseconds wait = RefusedPorts::kRetryMin;
  for (std::size_t i = 1; i < attempts && wait < RefusedPorts::kRetryMax; ++i) wait *= 2;
  return std::min<std::chrono::nanoseconds>(wait, RefusedPorts::kRetryMax);
}

}  // namespace

RefusedPorts::News RefusedPorts::note(const dataplane::Changes& changes,
                                      const std::vector<dataplane::RefusedPort>& refused, const Clock& clock) {
  News news;
  std::map<plan::ServicePortKey, Entry> before;
  std::set<plan::ServicePortKey> served;
  if (changes.full) before.swap(entries_);
  for (const plan::Change& change : changes.ports) {
    if (change.after) served.insert(change.key());
    auto known = entries_.extract(change.key());
    if (!known) continue;
    // Another version of the port: how long to wait does not follow from the old one's history.
    if (change.before != change.after) known.mapped().attempts = 0;
    before.insert(std::move(known));
  }
  for (const dataplane::RefusedPort& each : refused) {
    served.erase(each.port);
    if (auto other = entries_.extract(each.port)) before.insert(std::move(other));  // refused by another port's change
    const auto known = before.find(each.port);
    Entry entry{.reason = each.reason, .untried = each.untried, .attempts = 0, .since = clock.wall_now()};
    if (known != before.end()) {
      entry.attempts = known->second.attempts;
      entry.since = known->second.since;
    }
    if (!each.untried) ++entry.attempts;
    entry.next_attempt = clock.steady_now();
    if (!each.untried) entry.next_attempt += wait_after(entry.attempts);
    const bool is_new = known == before.end() || known->second.untried || known->second.reason != each.reason;
    if (is_new && !each.untried) news.refused.push_back(each);
    entries_.insert_or_assign(each.port, std::move(entry));
  }
  for (const auto& [port, entry] : before) {
    if (served.contains(port)) news.let_in.push_back(port);
  }
  return news;
}

std::vector<plan::ServicePortKey> RefusedPorts::due(Clock::SteadyTime now, std::size_t most,
                                                    const PendingChanges& pending) const {
  std::vector<std::pair<Clock::SteadyTime, plan::ServicePortKey>> waiting;
  for (const auto& [port, entry] : entries_) {
    if (entry.next_attempt <= now && !pending.contains(port)) waiting.emplace_back(entry.next_attempt, port);
  }
  std::sort(waiting.begin(), waiting.end());
  std::vector<plan::ServicePortKey> ports;
  for (const auto& [when, port] : waiting) {
    if (ports.size() == most) break;
    ports.push_back(port);
  }
  std::sort(ports.begin(), ports.end());
  return ports;
}

std::optional<Clock::SteadyTime> RefusedPorts::next_attempt(const PendingChanges& pending) const {
  std::optional<Clock::SteadyTime> next;
  for (const auto& [port, entry] : entries_) {
    if ((!next || entry.next_attempt < *next) && !pending.contains(port)) next = entry.next_attempt;
  }
  return next;
}

}  // namespace sluice::sync
