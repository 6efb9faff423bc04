// SPDX-License-Identifier: Apache-2.0
#include "sync/succession.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace sluice::sync {

Succession::Succession(const SyncContext& context, Family family) : context_(context), family_(family) {}

void Succession::begin(std::unique_ptr<dataplane::DataPlane> plane) {
  SLUICE_CHECK(plane->family() == family_);
  context_.metrics.expect(family_, plane->name());
  if (coming_) retire(std::move(*coming_).release());
  coming_ = std::make_shared<Plane>(context_, std::move(plane));
  coming_->request();
  publish();
}

void Succession::note(const plan::Change& change) {
  for (const auto& plane : {serving_, coming_}) {
    if (plane) plane->note(change);
  }
}

void Succession::request() {
  for (const auto& plane : {serving_, coming_}) {
    if (plane) plane->request();
  }
}

Plane::Turn Succession::step(const plan::Planner& planner) {
  Plane::Turn turn;
  if (serving_) turn = serving_->step(planner);
  if (coming_) {
    Plane::Turn of_coming = coming_->step(planner);
    const bool programmed = coming_->synced();
    if (!serving_ || programmed) turn = std::move(of_coming);
    if (programmed) take_over();
  }
  const Clock::SteadyTime now = context_.clock.steady_now();
  for (Retiring& each : retiring_) {
    if (each.next <= now) tend(each);
  }
  if (std::erase_if(retiring_, [](const Retiring& each) { return each.plane == nullptr; }) > 0) publish();
  return turn;
}

void Succession::take_over() {
  if (serving_) {
    SLUICE_LOG_INFO("Another data plane has taken over", {"ipFamily", to_string(family_)}, {"from", serving_->name()},
                    {"to", coming_->name()});
    retire(std::move(*serving_).release());
  }
  serving_ = std::exchange(coming_, nullptr);
  publish();
}

void Succession::retire(std::unique_ptr<dataplane::DataPlane> plane) {
  const Clock::SteadyTime now = context_.clock.steady_now();
  retiring_.push_back({.plane = std::move(plane), .deadline = now + context_.settings.drain_timeout, .next = now});
}

void Succession::tend_failed(Retiring& each, const Error& error) {
  each.next = std::min(context_.clock.steady_now() + context_.settings.sync_period, each.deadline);
  if (std::exchange(each.failure_reported, true)) return;
  SLUICE_LOG_WARNING("Could not retire a data plane, will try again every sync period",
                     {"ipFamily", to_string(family_)}, {"dataPlane", each.plane->name()}, {"err", error.what});
}

// Ends with the plane's destruction where it is gone.
void Succession::tend(Retiring& each) {
  const auto retire_and_tend = [&each]() -> Result<std::optional<std::chrono::milliseconds>> {
    if (!each.retired) SLUICE_CHECK_OK(each.plane->retire());
    each.retired = true;
    return each.plane->tend();
  };
  const Clock::SteadyTime now = context_.clock.steady_now();
  const auto again = retire_and_tend();
  if (again && !*again) {
    SLUICE_LOG_INFO("The last connection of a retired data plane has ended", {"ipFamily", to_string(family_)},
                    {"dataPlane", each.plane->name()});
  } else if (now >= each.deadline) {
    SLUICE_LOG_WARNING("A retired data plane still carries connections after its drain timeout, ending it",
                       {"ipFamily", to_string(family_)}, {"dataPlane", each.plane->name()});
  } else if (!again) {
    return tend_failed(each, again.error());
  } else {
    each.next = std::min<Clock::SteadyTime>(now + **again, each.deadline);
    return;
  }
  forget_rules(*each.plane);
  each.plane.reset();
}

// Metrics keep a plane's last counts until they are replaced, which a plane of another mode does not do.
void Succession::forget_rules(const dataplane::DataPlane& gone) const {
  if (serving_ && serving_->name() == gone.name()) return;
  for (const auto& [table, count] : gone.rules_by_table())
    context_.metrics.set_rules(family_, gone.name(), table, 0, 0);
}

std::optional<Clock::SteadyTime> Succession::next_wake() const {
  std::optional<Clock::SteadyTime> wake;
  const auto earlier = [&wake](Clock::SteadyTime time) {
    if (!wake || time < *wake) wake = time;
  };
  for (const auto& plane : {serving_, coming_}) {
    if (!plane) continue;
    if (const auto next = plane->next_wake()) earlier(*next);
  }
  for (const Retiring& each : retiring_) earlier(each.next);
  return wake;
}

void Succession::add_in_use(ModesInUse& modes) const {
  if (serving_) modes[std::string(serving_->name())].serving.push_back(family_);
  if (coming_) modes[std::string(coming_->name())].changing = true;
  for (const Retiring& each : retiring_) modes[std::string(each.plane->name())].changing = true;
}

void Succession::publish() {
  std::vector<PlaneStage> stages;
  if (serving_) stages.push_back({std::string(serving_->name()), Stage::kServing});
  if (coming_) stages.push_back({std::string(coming_->name()), Stage::kProgramming});
  for (const Retiring& each : retiring_) {
    if (each.plane) stages.push_back({std::string(each.plane->name()), Stage::kRetiring});
  }
  const MutexLock lock(mutex_);
  shown_ = serving_ ? serving_ : coming_;
  stages_ = std::move(stages);
}

FamilyStatus Succession::status() const {
  std::shared_ptr<const Plane> plane;
  std::vector<PlaneStage> stages;
  {
    const MutexLock lock(mutex_);
    plane = shown_;
    stages = stages_;
  }
  FamilyStatus status;
  if (plane) status = plane->status();
  status.family = family_;
  status.planes = std::move(stages);
  return status;
}

void Succession::append_served(std::vector<plan::ServicePortPlanPtr>& to) const {
  std::shared_ptr<const Plane> plane;
  {
    const MutexLock lock(mutex_);
    plane = shown_;
  }
  if (plane) plane->append_served(to);
}

}  // namespace sluice::sync
