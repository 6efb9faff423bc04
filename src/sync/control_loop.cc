// SPDX-License-Identifier: Apache-2.0
// An endpoint's change arrives as an Update of one slice. The Snapshot returns which Service it belongs to, the Planner
// plans that Service again and returns what differs, the family concerned notes it and programs it at once if
// the last sync is long enough ago. With ten thousand Services that is still one Service's work: nothing here iterates
// over all of them, except a full sync.
//
// Turn by turn: take everything that was posted (so that a list that arrived in pieces is programmed whole), let each
// family do what is due, publish what both share (health-check node ports, gauges), delete stale UDP flows last,
// because the dump of a large connection table must not delay the other family's rules.
#include "sync/control_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "dataplane/node/addresses.h"
#include "sys/conntrack.h"

namespace sluice::sync {
namespace {

constexpr std::size_t kComparisonsMax = 8;
// Far enough to mean "when something is posted", near enough for clock arithmetic.
constexpr auto kIdle = std::chrono::hours(1);
// The cluster autoscaler's announcement that the node goes: load balancers must send no new connections.
constexpr std::string_view kToBeDeletedTaint = "ToBeDeletedByClusterAutoscaler";

// Why load balancers must send this node no new connections; empty if they may.
std::string problem_of(const model::Node& node) {
  if (node.deleting) return fmt::format("Node \"{}\" is being deleted", node.name);
  if (std::find(node.taint_keys.begin(), node.taint_keys.end(), kToBeDeletedTaint) == node.taint_keys.end()) return "";
  return fmt::format("Node \"{}\" has the taint {}", node.name, kToBeDeletedTaint);
}

std::string zone_of(const model::Node& node) {
  const auto label = node.labels.find(std::string(model::kZoneLabel));
  return label == node.labels.end() ? std::string() : label->second;
}

std::string text(const std::vector<Cidr>& cidrs) {
  std::string joined;
  for (const Cidr& cidr : cidrs) joined += (joined.empty() ? "" : ",") + cidr.to_string();
  return joined;
}

std::set<model::ObjectKey> services_in(const model::Update& update) {
  std::set<model::ObjectKey> keys(update.services_removed.begin(), update.services_removed.end());
  for (const model::Service& service : update.services) keys.insert(service.key);
  return keys;
}

// Periods that are too short would make the loop spin.
LoopSettings sane(LoopSettings settings) {
  constexpr std::chrono::nanoseconds kShortest = std::chrono::milliseconds(10);
  settings.sync_period = std::max(settings.sync_period, kShortest);
  settings.full_sync_interval = std::max(settings.full_sync_interval, kShortest);
  if (settings.drift_repair_interval.count() > 0)
    settings.drift_repair_interval = std::max(settings.drift_repair_interval, kShortest);
  return settings;
}

// A load balancer could not find out here whether it has endpoints. The API server allocates the port, so its lack is a
// fault of the object.
void report_missing_health_check_port(const model::Service& service) {
  if (service.type != model::ServiceType::kLoadBalancer || service.headless ||
      service.external_traffic_policy != model::TrafficPolicy::kLocal || service.health_check_node_port != 0) {
    return;
  }
  SLUICE_LOG_ERROR("Service has no healthCheckNodePort", {"service", service.key.to_string()});
}

std::vector<observe::HealthCheck> health_checks(const plan::Planner& planner) {
  std::vector<observe::HealthCheck> checks;
  for (const auto& [key, check] : planner.health_checks()) {
    for (const Family family : kFamilies) {
      const auto index = static_cast<std::size_t>(family);
      if (!check.served[index]) continue;
      checks.push_back({key.namespace_name, key.name, check.port, check.local_ready[index], family});
    }
  }
  return checks;
}

}  // namespace

LoopHooks kernel_hooks() {
  LoopHooks hooks;
  hooks.delete_udp_flows = [](Family family, const std::function<bool(const sys::Flow&)>& stale) {
    return sys::delete_flows(family, Protocol::kUdp, stale);
  };
  hooks.local_addresses = dataplane::node::list_own_addresses;
  return hooks;
}

ControlLoop::ControlLoop(LoopSettings settings, LoopHooks hooks, const Clock& clock, observe::Metrics& metrics,
                         observe::Health& health, std::vector<std::unique_ptr<dataplane::DataPlane>> data_planes,
                         const std::vector<dataplane::Mechanism*>& mechanisms)
    : settings_(sane(std::move(settings))),
      hooks_(std::move(hooks)),
      clock_(clock),
      metrics_(metrics),
      health_(health),
      context_{settings_, hooks_, clock_, settings_.process_start.value_or(clock.wall_now()), metrics_, health_},
      sweep_(mechanisms, clock_),
      planner_(settings_.plan),
      facts_(settings_.facts) {
  for (const auto& data_plane : data_planes)
    families_.push_back(std::make_unique<ServedFamily>(context_, data_plane->family()));
  SLUICE_CHECK(families_.size() < 2 || families_[0]->family() != families_[1]->family());
  SLUICE_CHECK(families_.size() <= kFamilies.size());
  for (auto& data_plane : data_planes) begin(std::move(data_plane));
}

ControlLoop::~ControlLoop() {
  std::vector<ComparisonDone> left;
  {
    const MutexLock lock(mutex_);
    left.swap(comparisons_);
  }
  refuse_comparisons(left, Errc::kUnavailable, "the control loop has ended");
}

void ControlLoop::begin(std::unique_ptr<dataplane::DataPlane> data_plane) {
  const auto family = std::find_if(families_.begin(), families_.end(),
                                   [&data_plane](const auto& each) { return each->family() == data_plane->family(); });
  SLUICE_CHECK(family != families_.end());
  (*family)->planes().begin(std::move(data_plane));
}

void ControlLoop::run() {
  while (!stopping_) {
    const Clock::SteadyTime wake = step();
    const MutexLock lock(mutex_);
    while (!stopping_ && queue_.empty() && comparisons_.empty() && clock_.steady_now() < wake)
      wake_.wait_until(mutex_, wake);
  }
  std::vector<ComparisonDone> left;
  {
    const MutexLock lock(mutex_);
    left.swap(comparisons_);
  }
  refuse_comparisons(left, Errc::kUnavailable, "the control loop has ended");
}

void ControlLoop::stop() {
  {
    const MutexLock lock(mutex_);  // so that run() cannot miss it between its look and its sleep
    stopping_ = true;
  }
  wake_.notify_all();
}

void ControlLoop::post(model::Update&& update) {
  {
    const MutexLock lock(mutex_);
    queue_.push(std::move(update));
  }
  wake_.notify_all();
}

Clock::SteadyTime ControlLoop::step() {
  if (!std::exchange(started_, true)) start();
  std::vector<model::Update> updates;
  {
    const MutexLock lock(mutex_);
    updates = queue_.take();
  }
  for (model::Update& update : updates) take_in(std::move(update));
  if (!updates.empty()) {
    const MutexLock lock(mutex_);
    counts_.lists_complete = snapshot_.complete();
    counts_.services = snapshot_.services_count();
    counts_.slices = snapshot_.slices_count();
    counts_.node_known = snapshot_.node().has_value();
    counts_.zone = facts_.zone;
  }
  sync_families();
  reply_to_comparisons();
  sweep();
  return next_wake();
}

bool ControlLoop::all_served() const {
  return !families_.empty() &&
         std::all_of(families_.begin(), families_.end(), [](const auto& family) { return family->served(); });
}

// What is left over in a family may be all that serves it, until a plane of ours does.
void ControlLoop::sweep() {
  if (stopping_ || !all_served()) return;
  ModesInUse modes;
  for (const auto& family : families_) family->planes().add_in_use(modes);
  sweep_.step(modes);
}

void ControlLoop::start() {
  for (const auto& family : families_) family->start();
  if (families_.empty()) SLUICE_LOG_WARNING("No data plane, nothing will be programmed");
}

void ControlLoop::take_in(model::Update&& update) {
  const std::set<model::ObjectKey> services = services_in(update);
  for (const model::Service& service : update.services) report_missing_health_check_port(service);
  const model::Touched touched = snapshot_.apply(std::move(update));
  metrics_.add_service_changes(touched.service_events);
  metrics_.add_endpoint_changes(touched.slice_events);
  if (touched.node) take_in_node();
  if (!snapshot_.complete()) {
    SLUICE_LOG_V(2, "Not syncing until Services and EndpointSlices have been received");
    count(touched, services);
    return;
  }
  std::vector<plan::Change> changes;
  if (planned_) changes = planner_.update(snapshot_, touched.services);
  const bool replan = !planned_ || facts_ != planner_.facts();
  if (!planned_ || !changes.empty()) count(touched, services);
  distribute(changes, touched);
  if (!replan) return;
  distribute(planner_.replan_all(snapshot_, facts_), {});
  if (!std::exchange(planned_, true)) {
    for (const auto& family : families_) family->plan_ready();
  }
}

void ControlLoop::take_in_node() {
  if (!snapshot_.node()) {
    SLUICE_LOG_WARNING("This node's Node object was deleted, going on with its last state");
    return;
  }
  const model::Node& node = *snapshot_.node();
  health_.set_node(problem_of(node));
  if (zone_of(node) != facts_.zone) {
    SLUICE_LOG_INFO("The node's zone changed", {"from", facts_.zone}, {"to", zone_of(node)});
    facts_.zone = zone_of(node);
  }
  if (node_ && (node_->internal_ips != node.internal_ips || node_->external_ips != node.external_ips)) {
    SLUICE_LOG_WARNING("The node's addresses changed, going on with those from the start", {"node", node.name});
  }
  if (settings_.pod_cidrs && *settings_.pod_cidrs != node.pod_cidrs) {
    call_fatal(fmt::format(
        "the podCIDRs of Node {} changed from \"{}\" to \"{}\": which sources are local pods is no longer known",
        node.name, text(*settings_.pod_cidrs), text(node.pod_cidrs)));
  }
  node_ = node;
}

void ControlLoop::call_fatal(std::string why) {
  if (std::exchange(fatal_called_, true)) return;
  SLUICE_LOG_ERROR("Cannot go on with these settings", {"err", why});
  if (hooks_.fatal) hooks_.fatal(std::move(why));
}

// kube-proxy's pending gauges: Services by name, slices by event.
void ControlLoop::count(const model::Touched& touched, const std::set<model::ObjectKey>& services) {
  std::set_intersection(services.begin(), services.end(), touched.services.begin(), touched.services.end(),
                        std::inserter(services_waiting_, services_waiting_.end()));
  if (!touched.services_by_slice.empty()) slice_changes_waiting_ += touched.slice_events;
  publish_pending();
}

void ControlLoop::distribute(const std::vector<plan::Change>& changes, const model::Touched& touched) {
  std::array<ServedFamily*, kFamilies.size()> by_family{};
  for (const auto& family : families_) {
    by_family[static_cast<std::size_t>(family->family())] = family.get();
    for (const plan::ObjectKey& service : touched.trigger_times_void) family->forget_triggers(service);
  }
  std::array<const plan::ObjectKey*, kFamilies.size()> last{};  // changes come in order of Services
  for (const plan::Change& change : changes) {
    const auto index = static_cast<std::size_t>(change.key().family);
    ServedFamily* family = by_family[index];
    if (family == nullptr) continue;
    family->note(change);
    const plan::ObjectKey& service = change.key().service;
    if (last[index] != nullptr && *last[index] == service) continue;
    last[index] = &service;
    if (const auto times = touched.trigger_times.find(service); times != touched.trigger_times.end()) {
      family->note_triggers(service, times->second);
    }
  }
  for (const auto& family : families_) family->changed();
}

void ControlLoop::sync_families() {
  bool synced = false;
  for (const auto& family : families_) {
    if (stopping_) return;
    synced |= family->step(planner_);
  }
  publish(synced);
  for (const auto& family : families_) {
    if (stopping_) return;
    family->clean_conntrack();
  }
}

void ControlLoop::publish(bool synced) {
  const auto waits = [](const auto& family) { return family->waiting(); };
  const bool all_done = planned_ && std::none_of(families_.begin(), families_.end(), waits);
  // What a health-check node port reports may change without any port that must be programmed.
  const bool checks_changed = all_done && planner_.health_checks_generation() != health_checks_generation_;
  if (synced || checks_changed) {
    health_checks_generation_ = planner_.health_checks_generation();
    if (hooks_.sync_health_checks) hooks_.sync_health_checks(health_checks(planner_));
  }
  if (synced) {
    for (const auto& family : families_) {
      const Family which = family->family();
      metrics_.set_no_local_endpoints(which, "internal", planner_.no_local_endpoints(which, plan::Traffic::kInternal));
      metrics_.set_no_local_endpoints(which, "external", planner_.no_local_endpoints(which, plan::Traffic::kExternal));
    }
  }
  if (all_done && (!services_waiting_.empty() || slice_changes_waiting_ != 0)) {
    services_waiting_.clear();
    slice_changes_waiting_ = 0;
    publish_pending();
  }
}

void ControlLoop::publish_pending() {
  metrics_.set_service_changes_pending(services_waiting_.size());
  metrics_.set_endpoint_changes_pending(slice_changes_waiting_);
}

Clock::SteadyTime ControlLoop::next_wake() const {
  Clock::SteadyTime wake = clock_.steady_now() + kIdle;
  for (const auto& family : families_) {
    if (const auto next = family->next_wake()) wake = std::min(wake, *next);
  }
  if (const auto next = sweep_.next_wake(); next && all_served()) wake = std::min(wake, *next);
  return wake;
}

LoopStatus ControlLoop::status() const {
  LoopStatus status;
  {
    const MutexLock lock(mutex_);
    status = counts_;
  }
  for (const auto& family : families_) {
    status.families.push_back(family->status());
    family->append_served(status.served);
  }
  return status;
}

void ControlLoop::compare(ComparisonDone done) {
  std::vector<ComparisonDone> refused;
  Errc code = Errc::kUnavailable;
  {
    const MutexLock lock(mutex_);
    if (stopping_ || comparisons_.size() >= kComparisonsMax) {
      code = stopping_ ? Errc::kUnavailable : Errc::kExhausted;
      refused.push_back(std::move(done));
    } else {
      comparisons_.push_back(std::move(done));
    }
  }
  wake_.notify_all();
  const char* why = code == Errc::kExhausted ? "too many comparisons wait already" : "the control loop has ended";
  refuse_comparisons(refused, code, why);
}

std::future<std::vector<FamilyComparison>> ControlLoop::compare() {
  auto promise = std::make_shared<std::promise<std::vector<FamilyComparison>>>();
  auto future = promise->get_future();
  compare([promise](std::vector<FamilyComparison> comparisons) { promise->set_value(std::move(comparisons)); });
  return future;
}

void ControlLoop::reply_to_comparisons() {
  std::vector<ComparisonDone> wanted;
  {
    const MutexLock lock(mutex_);
    wanted.swap(comparisons_);
  }
  for (const ComparisonDone& done : wanted) {
    std::vector<FamilyComparison> comparisons;
    for (const auto& family : families_) comparisons.push_back({family->family(), family->compare(planner_)});
    done(std::move(comparisons));
  }
}

void ControlLoop::refuse_comparisons(const std::vector<ComparisonDone>& refused, Errc code,
                                     const std::string& why) const {
  for (const ComparisonDone& done : refused) {
    std::vector<FamilyComparison> comparisons;
    for (const auto& family : families_) comparisons.push_back({family->family(), fail(code, why)});
    done(std::move(comparisons));
  }
}

}  // namespace sluice::sync
