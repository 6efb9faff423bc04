// SPDX-License-Identifier: Apache-2.0
#include "sync/succession.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace sluice::sync {

Succession::Succession(const SyncContext& context, std::unique_ptr<dataplane::DataPlane> first)
    : context_(context), serving_(std::make_shared<Plane>(context, std::move(first))) {
  publish();
}

void Succession::begin(std::unique_ptr<dataplane::DataPlane> successor) {
  SLUICE_CHECK(successor->family() == serving_->family());
  if (successor_) retire(std::move(*successor_).release());
  successor_ = std::make_shared<Plane>(context_, std::move(successor));
  successor_->request();
  publish();
}

void Succession::note(const plan::Change& change) {
  serving_->note(change);
  if (successor_) successor_->note(change);
}

void Succession::request() {
  serving_->request();
  if (successor_) successor_->request();
}

Plane::Turn Succession::step(const plan::Planner& planner) {
  const bool served = serving_->synced();
  Plane::Turn turn = serving_->step(planner);
  if (successor_) {
    Plane::Turn taken_over = successor_->step(planner);
    if (successor_->synced()) {
      SLUICE_LOG_INFO("Another data plane has taken over", {"ipFamily", to_string(serving_->family())},
                      {"from", serving_->name()}, {"to", successor_->name()});
      retire(std::move(*std::exchange(serving_, std::exchange(successor_, nullptr))).release());
      turn = std::move(taken_over);
      publish();
    }
  } else if (!served && serving_->synced()) {
    publish();
  }
  const Clock::SteadyTime now = context_.clock.steady_now();
  for (Retiring& each : retiring_) {
    if (each.next <= now) tend(each);
  }
  if (std::erase_if(retiring_, [](const Retiring& each) { return each.plane == nullptr; }) > 0) publish();
  return turn;
}

void Succession::retire(std::unique_ptr<dataplane::DataPlane> plane) {
  retiring_.push_back({.plane = std::move(plane), .next = context_.clock.steady_now()});
}

// Ends with the plane's destruction where its last connection has ended.
void Succession::tend(Retiring& each) {
  const auto failed = [&](const Error& error) {
    each.next = context_.clock.steady_now() + context_.settings.sync_period;
    if (std::exchange(each.failure_reported, true)) return;
    SLUICE_LOG_WARNING("Could not retire a data plane, will try again every sync period",
                       {"ipFamily", to_string(each.plane->family())}, {"dataPlane", each.plane->name()},
                       {"err", error.what});
  };
  if (!each.retired) {
    if (const auto retired = each.plane->retire(); !retired) return failed(retired.error());
    each.retired = true;
  }
  const auto again = each.plane->tend();
  if (!again) return failed(again.error());
  if (*again) {
    each.next = context_.clock.steady_now() + **again;
    return;
  }
  SLUICE_LOG_INFO("The last connection of a retired data plane has ended",
                  {"ipFamily", to_string(each.plane->family())}, {"dataPlane", each.plane->name()});
  each.plane.reset();
}

std::optional<Clock::SteadyTime> Succession::next_wake() const {
  auto wake = serving_->next_wake();
  const auto earlier = [&wake](Clock::SteadyTime time) {
    if (!wake || time < *wake) wake = time;
  };
  if (successor_) {
    if (const auto next = successor_->next_wake()) earlier(*next);
  }
  for (const Retiring& each : retiring_) earlier(each.next);
  return wake;
}

void Succession::publish() {
  std::vector<PlaneStage> stages{
      {std::string(serving_->name()), serving_->synced() ? Stage::kServing : Stage::kProgramming}};
  if (successor_) stages.push_back({std::string(successor_->name()), Stage::kProgramming});
  for (const Retiring& each : retiring_) {
    if (each.plane) stages.push_back({std::string(each.plane->name()), Stage::kRetiring});
  }
  const MutexLock lock(mutex_);
  shown_ = serving_;
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
  FamilyStatus status = plane->status();
  status.planes = std::move(stages);
  return status;
}

void Succession::append_served(std::vector<plan::ServicePortPlanPtr>& to) const {
  std::shared_ptr<const Plane> plane;
  {
    const MutexLock lock(mutex_);
    plane = shown_;
  }
  plane->append_served(to);
}

}  // namespace sluice::sync
