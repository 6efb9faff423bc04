// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/ebpf_engine.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "ipvs/ebpf/hooks.h"
#include "ipvs/ebpf/records.h"
#include "ipvs/engine_errors.h"
#include "sys/bpf_place.h"
#include "sys/bpf_probe.h"
#include "sys/links.h"

namespace sluice::ipvs::ebpf {
namespace {

// What the kernel takes at 250 ticks per second.
constexpr std::uint32_t kTimeoutMax_s = std::numeric_limits<std::int32_t>::max() / 250;
constexpr std::uint32_t kVersion = 0x010201;  // of ip_vs, whose rules these are
// New flows fill half of the smallest table in a quarter of a second at the rate that the programs reach.
constexpr std::chrono::milliseconds kTendAgain{100};
constexpr std::chrono::milliseconds kNothingToTend{1000};
constexpr std::uint64_t kSecond_ns = 1000000000;
constexpr std::uint64_t kSweepPatience_ns = 5 * kSecond_ns;
constexpr std::uint64_t kTryRefusedAgain_ns = 5 * kSecond_ns;

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecond_ns + static_cast<std::uint64_t>(now.tv_nsec);
}

bool fits_empty_table(const Change& change) {
  return refusal_by_empty_table(change) == 0;
}

// Refusals have ip_vs' errno, for which ipvsadm has texts of its own. Whatever else goes wrong is to be read as it is.
template <typename T>
Result<T> in_own_words(Result<T> result) {
  if (!result) result.error().sys_errno = 0;
  return result;
}

}  // namespace

EbpfEngine::EbpfEngine(std::shared_ptr<SharedTables> shared)
    : shared_(std::move(shared)),
      tables_(shared_->tables),
      edit_(shared_->edit),
      rules_({.find = [this]() -> Result<Tables*> {
                SLUICE_TRY(const bool there, look());
                return there ? &*tables_ : nullptr;
              },
              .make = [this](bool anew) -> Result<Tables*> {
                SLUICE_CHECK_OK(make(anew));
                return &*tables_;
              },
              .may_lack_programs =
                  [this](int device) { return !shared_->hooked.empty() && !shared_->hooked.contains(device); }}) {}

Result<std::unique_ptr<Engine>> EbpfEngine::open() {
  SLUICE_CHECK_OK(in_own_words(sys::can_load_bpf()));
  SLUICE_CHECK_OK(in_own_words(sys::can_have_bpf_file_system()));
  SLUICE_TRY(auto shared, in_own_words(SharedTables::here()));
  return std::unique_ptr<Engine>(new EbpfEngine(std::move(shared)));
}

bool EbpfEngine::in_use() {
  const auto something = in_node();
  return !something || *something;  // open() returns the reason
}

Result<bool> EbpfEngine::in_node() {
  SLUICE_TRY(const bool pins, sys::has_netns_pins());
  if (pins) return true;
  SLUICE_TRY(const bool device, sys::link_exists(kOwnDevice));
  if (device) return true;
  SLUICE_TRY(const std::string hooked, device_with_programs());
  return !hooked.empty();
}

Result<> EbpfEngine::remove() {
  // Not while another process writes. Tables that cannot be opened are not written either.
  auto tables = Tables::find();
  std::optional<sys::FileLock> lock;
  if (tables && *tables) {
    SLUICE_TRY(lock, in_own_words((*tables)->lock()));
  }
  return remove_all();
}

Result<> EbpfEngine::remove_all() {
  SLUICE_CHECK_OK(OwnDevice::remove());
  SLUICE_CHECK_OK(detach());
  SLUICE_TRY(const auto shared, SharedTables::here());
  shared->forget();
  return sys::remove_netns_pins();
}

Description EbpfEngine::description() const {
  return {.name = "ebpf", .serves_loopback_clients = false, .only_masquerades = true};
}

Result<bool> EbpfEngine::look() {
  return in_own_words(find_tables());
}

Result<> EbpfEngine::make(bool anew) {
  return in_own_words(make_all(anew));
}

Result<sys::FileLock> EbpfEngine::take_lock() {
  return in_own_words(tables_->lock());
}

Result<bool> EbpfEngine::find_tables() {
  // Others may have taken them out of the kernel, or made new ones in their place.
  if (tables_ && !tables_->pinned()) shared_->forget();
  if (!tables_) {
    SLUICE_TRY(tables_, Tables::find());
    if (!tables_) return false;
    edit_.emplace(*tables_);
  }
  SLUICE_CHECK_OK(tables_->follow());
  return true;
}

Result<> EbpfEngine::no_programs_without_tables() {
  SLUICE_TRY(const std::string device, in_own_words(device_with_programs()));
  if (device.empty()) return {};
  return fail(
      Errc::kUnavailable,
      fmt::format(
          "the programs of the engine ebpf are on {} already, and their tables are not in {}/sluice/{}: they are "
          "in a BPF file system that is not mounted here, or of another version, or were removed; use the one that "
          "they are in, or take the programs away with `sluice cleanup`",
          device, sys::find_bpf_file_system().value_or("/sys/fs/bpf"), SLUICE_LAYOUT));
}

Result<> EbpfEngine::make_all(bool anew) {
  SLUICE_TRY(const bool there, find_tables());
  if (!there && !anew && !shared_->lost) SLUICE_CHECK_OK(no_programs_without_tables());
  if (anew) shared_->hooked.clear();
  // The programs may be another version's.
  if (!there || !tables_->current()) {
    SLUICE_TRY(Tables made, Tables::make());
    tables_.emplace(std::move(made));
    if (!edit_) edit_.emplace(*tables_);
    shared_->hooked.clear();
    shared_->lost = false;
  }
  SLUICE_TRY(const bool changed, shared_->links_changed());
  if (changed || shared_->hooked.empty()) SLUICE_CHECK_OK(attach_to_new());
  SLUICE_TRY(const Programs programs, tables_->programs());
  return start_sweep(programs);
}

Result<> EbpfEngine::attach_to_new() {
  SLUICE_TRY(const Programs programs, tables_->programs());
  const std::map<int, Refusal> before = shared_->refused;
  if (auto attached = attach(programs, shared_->hooked, shared_->refused); !attached) {
    shared_->hooked.clear();  // every one is looked at again
    return attached;
  }
  for (const auto& [index, refusal] : shared_->refused) {
    if (!before.contains(index))
      shared_->complaints.push_back(fmt::format(
          "device {} does not take all programs of the engine ebpf, so packets that pass it may miss their Service: {}",
          refusal.device, refusal.why));
  }
  shared_->try_refused_again_ns = now_ns() + kTryRefusedAgain_ns;
  return describe_devices(*tables_);
}

// The sweep is a timer of the programs that have started it. Those of another version must not go on with theirs, and one that has
// stopped must not stay so.
Result<> EbpfEngine::start_sweep(const Programs& programs) {
  const std::uint64_t swept = __atomic_load_n(&tables_->settings().swept_ns, __ATOMIC_ACQUIRE);
  if (!tables_->take_loaded() && swept + kSweepPatience_ns > now_ns()) return {};
  const std::vector<std::byte> packet(64);
  SLUICE_TRY(const sys::BpfRun run, sys::run_bpf_program(programs.start_sweep.get(), packet));
  if (run.verdict != 0)
    return fail(Errc::kUnsupported,
                fmt::format("ipvs: start the sweep of connections: {}", std::strerror(static_cast<int>(run.verdict))));
  __atomic_store_n(&tables_->settings().swept_ns, now_ns(), __ATOMIC_RELEASE);
  return {};
}

Result<std::optional<std::chrono::milliseconds>> EbpfEngine::tend() {
  SLUICE_TRY(const bool there, look());
  if (!there) return kNothingToTend;
  if (tables_->should_grow()) {
    SLUICE_TRY(const sys::FileLock lock, take_lock());
    SLUICE_CHECK_OK(tables_->grow());
  }
  SLUICE_TRY(const bool changed, shared_->links_changed());
  const bool again = !shared_->refused.empty() && now_ns() >= shared_->try_refused_again_ns;
  if (changed || again || shared_->hooked.empty()) {
    // First the device, so that it gets the programs, too.
    SLUICE_TRY(const int device, rules_.device().follow());
    if (device != 0)
      __atomic_store_n(&tables_->settings().own_device, static_cast<std::uint32_t>(device), __ATOMIC_RELEASE);
    SLUICE_CHECK_OK(attach_to_new());
  }
  return kTendAgain;
}

Result<EngineInfo> EbpfEngine::info() {
  SLUICE_TRY(const bool there, look());
  // Without an error an empty table would be shown while packets are served by another.
  if (!there) SLUICE_CHECK_OK(no_programs_without_tables());
  return EngineInfo{kVersion, there ? tables_->pool().buckets : 0};
}

VirtualServerState EbpfEngine::state_of(const sluice_service& service) const {
  VirtualServerState state;
  state.server = settings_in(service, edit_->scheduler_of(service));
  sluice_counts all = service.gone;
  for (const std::uint32_t id : edit_->members(service)) {
    const sluice_real& real = *tables_->reals.at(id);
    const sluice_cell& cell = *tables_->cells.at(id);
    const std::uint64_t load = __atomic_load_n(&cell.load, __ATOMIC_ACQUIRE);
    const sluice_counts counts = difference(edit_->counted(id), real.zeroed);
    all = sum(all, counts);
    RealServerState shown;
    shown.server = settings_in(real, cell);
    shown.active_connections = sluice_active(load);
    shown.inactive_connections = sluice_total(load) - std::min(sluice_active(load), sluice_total(load));
    shown.persistent_connections = cell.persistent;
    shown.statistics = {counters_of(counts), rates_of(*tables_->estimates.at(id))};
    state.statistics.per_second = sum(state.statistics.per_second, shown.statistics.per_second);
    state.real_servers.push_back(std::move(shown));
  }
  state.statistics.totals = counters_of(all);
  return state;
}

Result<> EbpfEngine::list(const Wanted& wanted, const std::function<void(VirtualServerState)>& visit) {
  SLUICE_TRY(const bool there, look());
  if (!there) return {};
  // Callers may change the table within `wanted`, so it is not locked then; each is read as it is when its turn comes.
  std::vector<VirtualServerKey> keys;
  for (std::uint32_t id = 1; id < tables_->settings().services; ++id) {
    const sluice_service* service = tables_->services.at(id);
    if (service != nullptr && service->state == SLUICE_SERVICE_USED) keys.push_back(key_in(service->key));
  }
  for (const VirtualServerKey& key : keys) {
    if (!wanted(key)) continue;
    auto state = find(key);
    if (state) {
      visit(*std::move(state));
    } else if (state.error().code != Errc::kNotFound) {
      return tl::unexpected(state.error());
    }
  }
  return {};
}

Result<VirtualServerState> EbpfEngine::find(const VirtualServerKey& key) {
  SLUICE_TRY(const bool there, look());
  if (!there) return tl::unexpected(refused_key("find", key, ESRCH));
  SLUICE_TRY(const sys::FileLock lock, take_lock());
  SLUICE_TRY(const std::uint32_t id, in_own_words(tables_->service_id(record_of(key))));
  if (id == 0) return tl::unexpected(refused_key("find", key, ESRCH));
  return state_of(*tables_->services.at(id));
}

Result<> EbpfEngine::connections(const std::function<void(const Connection&)>& visit) {
  SLUICE_TRY(const bool there, look());
  if (!there) return {};
  const std::uint64_t now = now_ns();
  const std::uint32_t end = __atomic_load_n(&tables_->pool().fresh, __ATOMIC_ACQUIRE);
  for (std::uint32_t id = 1; id < end; ++id) {
    const sluice_connection* entry = tables_->connections.at(id);
    if (entry == nullptr) break;
    if (const auto connection = connection_in(*entry, now)) visit(*connection);
  }
  return {};
}

Result<std::vector<Failure>> EbpfEngine::apply(std::span<const Change> changes) {
  std::vector<Failure> failures;
  if (changes.empty()) return failures;
  SLUICE_TRY(const bool there, look());
  if (!there && !std::ranges::any_of(changes, fits_empty_table)) {
    if (!shared_->lost) SLUICE_CHECK_OK(no_programs_without_tables());
    for (std::size_t i = 0; i < changes.size(); ++i)
      failures.push_back({i, refused(changes[i], refusal_by_empty_table(changes[i]))});
    return failures;
  }
  SLUICE_CHECK_OK(make());
  SLUICE_TRY(const sys::FileLock lock, take_lock());
  SLUICE_CHECK_OK(in_own_words(tables_->follow()));
  SLUICE_CHECK_OK(in_own_words(tables_->grow()));
  for (std::size_t i = 0; i < changes.size(); ++i) {
    SLUICE_TRY(const int error, in_own_words(edit_->apply(changes[i])));
    if (error != 0) failures.push_back({i, refused(changes[i], error)});
  }
  return failures;
}

Result<> EbpfEngine::flush() {
  SLUICE_TRY(const bool there, look());
  if (!there) return {};
  SLUICE_TRY(const sys::FileLock lock, take_lock());
  SLUICE_CHECK_OK(in_own_words(tables_->follow()));
  return in_own_words(edit_->flush());
}

void EbpfEngine::zero_one(sluice_service& service) {
  service.gone = {};
  for (const std::uint32_t id : edit_->members(service)) edit_->start_counting(id);
}

Result<> EbpfEngine::zero(const std::optional<VirtualServerKey>& key) {
  SLUICE_TRY(const bool there, look());
  if (!there) {
    if (key) return tl::unexpected(refused_key("zero", *key, ESRCH));
    return {};
  }
  SLUICE_TRY(const sys::FileLock lock, take_lock());
  if (key) {
    SLUICE_TRY(const std::uint32_t id, in_own_words(tables_->service_id(record_of(*key))));
    if (id == 0) return tl::unexpected(refused_key("zero", *key, ESRCH));
    zero_one(*tables_->services.at(id));
    return {};
  }
  for (std::uint32_t id = 1; id < tables_->settings().services; ++id) {
    sluice_service* service = tables_->services.at(id);
    if (service != nullptr && service->state == SLUICE_SERVICE_USED) zero_one(*service);
  }
  return {};
}

Result<Timeouts> EbpfEngine::timeouts() {
  SLUICE_TRY(const bool there, look());
  if (!there) return Timeouts{900, 120, 300};
  const sluice_settings& settings = tables_->settings();
  return Timeouts{settings.tcp_s[SLUICE_TCP_ESTABLISHED], settings.tcp_s[SLUICE_TCP_FIN_WAIT], settings.udp_s};
}

Result<> EbpfEngine::set_timeouts(const Timeouts& timeouts) {
  if (std::max({timeouts.tcp_s, timeouts.tcp_fin_s, timeouts.udp_s}) > kTimeoutMax_s)
    return tl::unexpected(refused_call("set timeouts", EINVAL));
  SLUICE_CHECK_OK(make());
  SLUICE_TRY(const sys::FileLock lock, take_lock());
  sluice_settings& settings = tables_->settings();
  if (timeouts.tcp_s != 0) settings.tcp_s[SLUICE_TCP_ESTABLISHED] = timeouts.tcp_s;
  if (timeouts.tcp_fin_s != 0) settings.tcp_s[SLUICE_TCP_FIN_WAIT] = timeouts.tcp_fin_s;
  if (timeouts.udp_s != 0) settings.udp_s = timeouts.udp_s;
  return {};
}

Result<std::vector<SyncDaemon>> EbpfEngine::sync_daemons() {
  return std::vector<SyncDaemon>{};
}

Result<> EbpfEngine::start_sync_daemon(const SyncDaemon& daemon) {
  return tl::unexpected(refused_start(daemon, EOPNOTSUPP));
}

Result<> EbpfEngine::stop_sync_daemon(SyncRole role) {
  return tl::unexpected(refused_stop(role, ESRCH));
}

Result<std::optional<EngineWork>> EbpfEngine::work() {
  SLUICE_TRY(const bool there, look());
  if (!there) return std::nullopt;
  EngineWork work;
  work.connections_max = tables_->settings().connections_max;
  for (std::uint32_t id = 1; id < tables_->settings().reals; ++id) {
    const sluice_cell* cell = tables_->cells.at(id);
    if (cell == nullptr) break;
    work.connections += sluice_total(__atomic_load_n(&cell->load, __ATOMIC_ACQUIRE)) + cell->persistent;
  }
  const std::span<const __u64> drops = tables_->drops();
#define X(name, text) work.dropped.emplace_back(text, __atomic_load_n(&drops[SLUICE_DROP_##name], __ATOMIC_RELAXED));
  SLUICE_DROP_REASONS(X)
#undef X
  if (auto devices = describe_coverage(work); !devices) work.devices_unknown = devices.error().what;
  return work;
}

Result<> EbpfEngine::describe_coverage(EngineWork& work) const {
  SLUICE_TRY(const Programs programs, tables_->programs());
  SLUICE_TRY(const Coverage covered, coverage(programs));
  work.devices = covered.devices;
  for (const sys::Device& device : covered.without) {
    const auto why = shared_->refused.find(device.index);
    work.devices_without.push_back(
        why == shared_->refused.end() ? device.name : fmt::format("{} ({})", device.name, why->second.why));
  }
  return {};
}

std::vector<std::string> EbpfEngine::take_complaints() {
  return std::exchange(shared_->complaints, {});
}

Result<> EbpfEngine::prepare_node() {
  SLUICE_CHECK_OK(OwnDevice::ensure());
  return {};
}

Result<Presence> EbpfEngine::presence() {
  SLUICE_TRY(const bool there, look());
  std::optional<sys::FileLock> lock;
  if (there) {
    SLUICE_TRY(lock, take_lock());
  }
  return presence_now(there);
}

// Without tables, the device is the evidence: only rules of Services need it.
Result<Presence> EbpfEngine::presence_now(bool tables_there) {
  if (!tables_there) {
    SLUICE_TRY(const bool device, sys::link_exists(kOwnDevice));
    if (device) return Presence::kIdle;
    SLUICE_TRY(const bool something, in_node());
    return something ? Presence::kOutOfSight : Presence::kNone;
  }
  for (std::uint32_t id = 1; id < tables_->settings().services; ++id) {
    const sluice_service* service = tables_->services.at(id);
    if (service != nullptr && service->state == SLUICE_SERVICE_USED) return Presence::kServes;
  }
  SLUICE_TRY(const bool no_rules, has_no_rules(*tables_));
  return no_rules ? Presence::kIdle : Presence::kServes;
}

Result<> EbpfEngine::leave_node() {
  SLUICE_TRY(const bool there, look());
  std::optional<sys::FileLock> lock;
  if (there) {
    SLUICE_TRY(lock, take_lock());
  }
  SLUICE_TRY(const Presence now, presence_now(there));
  return now == Presence::kServes ? Result<>{} : remove_all();
}

}  // namespace sluice::ipvs::ebpf
