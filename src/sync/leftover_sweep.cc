// SPDX-License-Identifier: Apache-2.0
// A node that changes its mode serves by the new one before anything of the old one is removed: new connections use the
// new one, old ones end on the old one. What a mode left stays until the connections that need it have ended, at most for
// the mode's own drain timeout; each mode counts those itself (Leftovers::connections).
#include "sync/leftover_sweep.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/log.h"

namespace sluice::sync {

LeftoverSweep::LeftoverSweep(const std::vector<dataplane::Mechanism*>& mechanisms, const Clock& clock) : clock_(clock) {
  for (dataplane::Mechanism* mechanism : mechanisms) work_.push_back({mechanism});
}

void LeftoverSweep::step(const ModesInUse& in_use) {
  const Clock::SteadyTime now = clock_.steady_now();
  for (Work& work : work_) note_use(work, in_use, now);
  const auto due =
      std::find_if(work_.begin(), work_.end(), [now](const Work& work) { return work.waits() && work.next <= now; });
  if (due == work_.end()) return;
  if (due->removing) {
    remove_piece(*due, now);
  } else {
    look(*due, now);
  }
}

std::optional<Clock::SteadyTime> LeftoverSweep::next_wake() const {
  std::optional<Clock::SteadyTime> next;
  for (const Work& work : work_) {
    if (work.in_use && work.waits()) next = next ? std::min(*next, work.next) : work.next;
  }
  return next;
}

// A plane that came or went makes another question of what is left, so what was found before is forgotten.
void LeftoverSweep::note_use(Work& work, const ModesInUse& in_use, Clock::SteadyTime now) {
  const auto found = in_use.find(work.mechanism->name());
  const ModeInUse use = found == in_use.end() ? ModeInUse() : found->second;
  if (use == work.in_use) return;
  // Through a change that takes several steps, the first one counts.
  if (!work.in_use || !work.in_use->changing) work.quiet_since = now;
  work.in_use = use;
  work.next = now;
  work.removing.reset();
  report_removed(work);
  work.problems.clear();
  work.retry = kRetryMin;
  work.done = false;
}

void LeftoverSweep::look(Work& work, Clock::SteadyTime now) {
  dataplane::Leftovers found = work.mechanism->leftovers(work.in_use->serving);
  std::vector<std::string> texts = found.problems;
  texts.insert(texts.end(), found.unsure.begin(), found.unsure.end());
  report(work, texts);
  if (found.objects.empty()) {
    work.done = true;
    return;
  }
  const Clock::SteadyTime deadline = work.quiet_since + found.drain_timeout;
  if (found.connections > 0 && now < deadline) {
    work.next = std::min<Clock::SteadyTime>(now + kLookInterval, deadline);
    report(work, work.mechanism->retire(found));
    SLUICE_LOG_V(1, "Connections continue through what was left of a mode, looking again",
                 {"mode", work.mechanism->name()}, {"connections", found.connections});
    return;
  }
  work.removing = std::move(found);
}

void LeftoverSweep::remove_piece(Work& work, Clock::SteadyTime now) {
  dataplane::Removal piece = work.mechanism->remove(*std::exchange(work.removing, std::nullopt));
  for (dataplane::Objects& objects : piece.removed) add(work.removed, std::move(objects));
  std::move(piece.problems.begin(), piece.problems.end(), std::back_inserter(work.problems));
  if (!piece.left.objects.empty()) {
    work.removing = std::move(piece.left);
    return;
  }
  report_removed(work);
  if (work.problems.empty()) {
    work.done = true;
    return;
  }
  report(work, std::exchange(work.problems, {}));
  work.next = now + work.retry;
  work.retry = std::min<std::chrono::nanoseconds>(2 * work.retry, kRetryMax);
}

void LeftoverSweep::report_removed(Work& work) {
  for (const dataplane::Objects& objects : work.removed)
    SLUICE_LOG_INFO("Removed what was left of a mode", {"mode", work.mechanism->name()}, {"what", objects.to_string()});
  work.removed.clear();
}

void LeftoverSweep::report(Work& work, const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    if (std::find(work.reported.begin(), work.reported.end(), text) != work.reported.end()) continue;
    SLUICE_LOG_WARNING("Could not remove what was left of a mode, continuing", {"mode", work.mechanism->name()},
                       {"err", text});
    work.reported.push_back(text);
  }
  // A bound for texts that never repeat.
  constexpr std::size_t kReportedMax = 100;
  if (work.reported.size() > kReportedMax) work.reported.clear();
}

}  // namespace sluice::sync
