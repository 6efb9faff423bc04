// SPDX-License-Identifier: Apache-2.0
// The first process in a network namespace loads the programs, and libbpf makes and pins their maps. Later ones open
// the pins: no program is loaded again while the one that is there is of this version.
#include "ipvs/ebpf/tables.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string_view>
#include <thread>

#include "sys/bpf_place.h"

SLUICE_BPF_OBJECT(datapath);

namespace sluice::ipvs::ebpf {
namespace {

constexpr std::chrono::seconds kLockPatience{10};
constexpr std::uint32_t kBuckets = 1U << 20;
constexpr std::uint32_t kFirstConnections = 16 * SLUICE_CHUNK;  // 32 MB
constexpr std::uint32_t kConnectionsMax = 1U << 20;
constexpr std::array kPrograms{"sluice_ingress", "sluice_egress", "sluice_ingress_l3", "sluice_egress_l3",
                               "sluice_start_sweep"};

// That this version's programs share. Those of another version may have fewer.
constexpr std::array kMaps{"sluice_settings",   "sluice_pool",        "sluice_line",     "sluice_cell",
                           "sluice_real",       "sluice_count",       "sluice_estimate", "sluice_service",
                           "sluice_connection", "sluice_bucket",      "sluice_free",     "sluice_drop",
                           "sluice_known",      "sluice_service_id",  "sluice_rule",     "sluice_allowed",
                           "sluice_device",     "sluice_destination", "sluice_fragment", "sluice_timer"};

// FNV-1a: which programs these are. Not 0.
std::uint64_t image_hash() {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::byte each : SLUICE_BPF_IMAGE(datapath).bytes)
    hash = (hash ^ std::to_integer<std::uint64_t>(each)) * 0x100000001b3;
  return hash | 1;
}

std::uint32_t stripes() {
  std::uint32_t stripes = 1;
  while (stripes < SLUICE_STRIPES_MAX && stripes < std::thread::hardware_concurrency()) stripes *= 2;
  return stripes;
}

void set_default_timeouts(sluice_settings& settings) {
#define X(name, text, seconds) settings.tcp_s[SLUICE_TCP_##name] = seconds;
  SLUICE_TCP_STATES(X)
#undef X
#define X(name, text, seconds) settings.sctp_s[SLUICE_SCTP_##name] = seconds;
  SLUICE_SCTP_STATES(X)
#undef X
#define X(name, text, seconds) settings.udp_s = seconds;
  SLUICE_UDP_STATES(X)
#undef X
}

}  // namespace

template <typename T>
Result<> Chunked<T>::map(const UniqueFd& chunk) {
  SLUICE_TRY(sys::BpfMemory memory, sys::BpfMemory::of(chunk.get(), sizeof(T)));
  chunks_.push_back(std::move(memory));
  return {};
}

template <typename T>
Result<> Chunked<T>::follow() {
  while (true) {
    const auto chunk = sys::open_pinned_bpf(path(chunks_.size()));
    if (!chunk) return chunk.error().code == Errc::kNotFound ? Result<>{} : tl::unexpected(chunk.error());
    SLUICE_CHECK_OK(map(*chunk));
  }
}

template <typename T>
Result<> Chunked<T>::grow_to(std::uint32_t count) {
  while (size() < count) {
    const auto number = static_cast<std::uint32_t>(chunks_.size());
    if (number >= SLUICE_CHUNKS_MAX)
      return fail(Errc::kExhausted, fmt::format("ipvs: {} holds {} elements", name_, size()));
    SLUICE_TRY(const UniqueFd outer, sys::open_pinned_bpf(folder_ + "/" + name_));
    SLUICE_TRY(const UniqueFd chunk, sys::make_bpf_array(name_, sizeof(T), SLUICE_CHUNK));
    const int fd = chunk.get();
    SLUICE_CHECK_OK(sys::set_bpf_element(outer.get(), &number, &fd));
    SLUICE_CHECK_OK(sys::replace_pinned_bpf(fd, path(number)));
    SLUICE_CHECK_OK(map(chunk));
  }
  return {};
}

template class Chunked<sluice_line>;
template class Chunked<sluice_cell>;
template class Chunked<sluice_real>;
template class Chunked<sluice_count>;
template class Chunked<sluice_estimate>;
template class Chunked<sluice_service>;
template class Chunked<sluice_connection>;

Tables::Tables(const std::string& folder)
    : lines("sluice_line", folder),
      cells("sluice_cell", folder),
      reals("sluice_real", folder),
      counts("sluice_count", folder),
      estimates("sluice_estimate", folder),
      services("sluice_service", folder),
      connections("sluice_connection", folder),
      folder_(folder) {}

Result<std::string> Tables::folder_in(const std::string& file_system) {
  SLUICE_TRY(const std::uint64_t cookie, sys::netns_cookie());
  return fmt::format("{}/sluice/{}/{}", file_system, SLUICE_LAYOUT, cookie);
}

Result<std::optional<Tables>> Tables::find() {
  const auto file_system = sys::find_bpf_file_system();
  if (!file_system) return std::optional<Tables>{};
  SLUICE_TRY(const std::string folder, Tables::folder_in(*file_system));
  Tables tables(folder);
  SLUICE_TRY(const bool complete, tables.open_all_maps());
  // Otherwise their maker did not get to the end, or a part of them was taken away.
  if (!complete || tables.settings().changes == 0) return std::optional<Tables>{};
  return std::optional<Tables>(std::move(tables));
}

Result<Tables> Tables::make() {
  SLUICE_TRY(const std::string folder, sys::make_netns_pins(SLUICE_LAYOUT));
  auto made = make_in(folder);
  // The first load may be refused, and then it leaves nothing. That error is the one to report.
  if (!made) (void)sys::remove_empty_netns_pins();
  return made;
}

Result<Tables> Tables::make_in(const std::string& folder) {
  Tables tables(folder);
  SLUICE_TRY(const sys::FileLock lock, tables.lock());
  SLUICE_TRY(const bool complete, tables.open_all_maps());
  if (!complete) SLUICE_CHECK_OK(tables.begin_again());
  if (!complete || !tables.current_programs()) SLUICE_CHECK_OK(tables.load_programs());
  SLUICE_CHECK_OK(tables.initialise());
  SLUICE_CHECK_OK(tables.follow());
  return tables;
}

Result<sys::FileLock> Tables::lock() {
  auto lock = sys::FileLock::take_existing(folder_, kLockPatience);
  // What is written to them now would be read by no packet and no process.
  const bool lost = lock ? pin_ != 0 && !pinned() : lock.error().code == Errc::kNotFound;
  if (lost)
    return fail(Errc::kUnavailable, "ipvs: another process has removed the tables of the engine ebpf; try again");
  return lock;
}

Result<> Tables::open_maps() {
  const auto open = [this](const char* name, std::size_t size, sys::BpfMemory& memory) -> Result<> {
    SLUICE_TRY(const UniqueFd fd, sys::open_pinned_bpf(folder_ + "/" + name));
    SLUICE_TRY(memory, sys::BpfMemory::of(fd.get(), size));
    return {};
  };
  SLUICE_CHECK_OK(open("sluice_settings", sizeof(sluice_settings), settings_));
  pin_ = sys::pinned_bpf_number(folder_ + "/sluice_settings");
  SLUICE_CHECK_OK(open("sluice_pool", sizeof(sluice_pool), pool_));
  SLUICE_CHECK_OK(open("sluice_drop", sizeof(__u64), drops_));
  SLUICE_TRY(service_ids_, sys::open_pinned_bpf(folder_ + "/sluice_service_id"));
  SLUICE_TRY(rules_, sys::open_pinned_bpf(folder_ + "/sluice_rule"));
  SLUICE_TRY(allowed_, sys::open_pinned_bpf(folder_ + "/sluice_allowed"));
  SLUICE_TRY(devices_, sys::open_pinned_bpf(folder_ + "/sluice_device"));
  return {};
}

Result<bool> Tables::open_all_maps() {
  const auto opened = open_maps();
  if (!opened) return opened.error().code == Errc::kNotFound ? Result<bool>(false) : tl::unexpected(opened.error());
  const auto is_pinned = [this](const char* map) { return sys::pinned_bpf_number(folder_ + "/" + map) != 0; };
  if (settings().program_hash == image_hash() && !std::ranges::all_of(kMaps, is_pinned)) return false;
  // A process that adds elements makes their chunk before it counts them.
  const sluice_settings& s = settings();
  const std::uint32_t services_used = __atomic_load_n(&s.services, __ATOMIC_ACQUIRE);
  const std::uint32_t reals_used = __atomic_load_n(&s.reals, __ATOMIC_ACQUIRE);
  const std::uint32_t lines_used = __atomic_load_n(&s.lines, __ATOMIC_ACQUIRE);
  const std::uint32_t connections_used = __atomic_load_n(&pool().end, __ATOMIC_ACQUIRE);
  SLUICE_CHECK_OK(follow());
  return services.size() >= services_used && lines.size() >= lines_used && connections.size() >= connections_used &&
         (reals_used <= 1 || (std::min({reals.size(), cells.size(), estimates.size()}) >= reals_used &&
                              counts.size() >= reals_used * s.stripes));
}

// Without one of them the others have no meaning. Programs that are on devices keep theirs until these are replaced.
Result<> Tables::begin_again() {
  *this = Tables(std::string(folder_));
  std::error_code error;
  std::vector<std::filesystem::path> pins;
  for (std::filesystem::directory_iterator pin(folder_, error), end; !error && pin != end; pin.increment(error))
    pins.push_back(pin->path());
  for (const std::filesystem::path& pin : pins) {
    if (!error) std::filesystem::remove(pin, error);
  }
  return error ? fail(Errc::kInternal, fmt::format("empty {}: {}", folder_, error.message())) : Result<>{};
}

Result<> Tables::load_programs() {
  SLUICE_TRY(auto object, sys::BpfObject::open(SLUICE_BPF_IMAGE(datapath)));
  const bool there = !pool_.elements<sluice_pool>().empty() && pool().buckets != 0;
  SLUICE_CHECK_OK(object.set_entries("sluice_bucket", there ? pool().buckets : kBuckets));
  SLUICE_CHECK_OK(object.keep_maps_in(folder_, "sluice_packet"));
  SLUICE_CHECK_OK(object.load());
  for (const char* program : kPrograms)
    SLUICE_CHECK_OK(sys::replace_pinned_bpf(object.program(program), fmt::format("{}/{}", folder_, program)));
  loaded_ = true;
  return open_maps();
}

Result<> Tables::initialise() {
  SLUICE_CHECK_OK(follow());
  sluice_settings& s = settings();
  s.program_hash = image_hash();
  if (s.changes != 0) return {};
  s.stripes = stripes();
  s.services = s.reals = s.lines = 1;
  s.connections_max = kConnectionsMax;
  set_default_timeouts(s);
  sluice_pool& p = pool();
  if (::getrandom(&p.hash_key, sizeof p.hash_key, 0) != sizeof p.hash_key)
    return fail(Errc::kInternal, "ipvs: no random number for the connection table");
  p.buckets = kBuckets;
  p.fresh = 1;
  SLUICE_CHECK_OK(connections.grow_to(kFirstConnections));
  __atomic_store_n(&p.end, connections.size(), __ATOMIC_RELEASE);
  SLUICE_CHECK_OK(services.grow_to(1));
  SLUICE_CHECK_OK(lines.grow_to(1));
  s.changes = 2;
  return {};
}

Result<> Tables::follow() {
  SLUICE_CHECK_OK(lines.follow());
  SLUICE_CHECK_OK(cells.follow());
  SLUICE_CHECK_OK(reals.follow());
  SLUICE_CHECK_OK(counts.follow());
  SLUICE_CHECK_OK(estimates.follow());
  SLUICE_CHECK_OK(services.follow());
  SLUICE_CHECK_OK(connections.follow());
  return {};
}

bool Tables::should_grow() const {
  const sluice_pool& p = pool();
  return p.end != 0 && p.end < settings().connections_max && __atomic_load_n(&p.fresh, __ATOMIC_ACQUIRE) >= p.end / 2;
}

Result<> Tables::grow() {
  SLUICE_CHECK_OK(connections.follow());
  if (!should_grow()) return {};
  sluice_pool& p = pool();
  const std::uint32_t most = settings().connections_max;
  SLUICE_CHECK_OK(connections.grow_to(std::min(p.end * 2, most)));
  __atomic_store_n(&p.end, std::min(connections.size(), most), __ATOMIC_RELEASE);
  return {};
}

bool Tables::pinned() const {
  return pin_ != 0 && sys::pinned_bpf_number(folder_ + "/sluice_settings") == pin_;
}

bool Tables::current_programs() const {
  static const std::uint64_t hash = image_hash();
  return settings().program_hash == hash && std::ranges::all_of(kPrograms, [this](const char* program) {
           return sys::pinned_bpf_number(folder_ + "/" + program) != 0;
         });
}

bool Tables::current() const {
  return settings().changes != 0 && current_programs();
}

Result<std::uint32_t> Tables::service_id(const sluice_service_key& key) const {
  std::uint32_t id = 0;
  SLUICE_TRY(const bool found, sys::find_bpf_element(service_ids_.get(), &key, &id));
  return found ? id : 0;
}

Result<> Tables::set_service_id(const sluice_service_key& key, std::uint32_t id) {
  return sys::set_bpf_element(service_ids_.get(), &key, &id);
}

Result<> Tables::remove_service_id(const sluice_service_key& key) {
  SLUICE_CHECK_OK(sys::remove_bpf_element(service_ids_.get(), &key));
  return {};
}

Result<Programs> Tables::programs() const {
  Programs programs;
  SLUICE_TRY(programs.ingress, sys::open_pinned_bpf(folder_ + "/sluice_ingress"));
  SLUICE_TRY(programs.egress, sys::open_pinned_bpf(folder_ + "/sluice_egress"));
  SLUICE_TRY(programs.ingress_l3, sys::open_pinned_bpf(folder_ + "/sluice_ingress_l3"));
  SLUICE_TRY(programs.egress_l3, sys::open_pinned_bpf(folder_ + "/sluice_egress_l3"));
  SLUICE_TRY(programs.start_sweep, sys::open_pinned_bpf(folder_ + "/sluice_start_sweep"));
  return programs;
}

}  // namespace sluice::ipvs::ebpf
