// SPDX-License-Identifier: Apache-2.0
// libbpf 1.1 does the work: it reads the ELF file, makes the maps, and relocates programs. It reports on a global print
// function, with the verifier's whole log in one piece when a program is refused, which is up to 16 MB of every instruction
// that was followed. People need one line of it, and that is picked out here.
#include "sys/bpf.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

namespace sluice::sys {
namespace {

constexpr std::size_t kReportMax = std::size_t{16} << 20;
constexpr std::size_t kPacketMax = 65536;

// What libbpf reports in this thread, while it is collected.
thread_local std::string* report = nullptr;

__attribute__((format(printf, 2, 0))) int collect(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG || report == nullptr || report->size() > kReportMax) return 0;
  va_list again;
  va_copy(again, arguments);
  const int size = std::vsnprintf(nullptr, 0, format, arguments);
  if (size > 0) {
    const std::size_t before = report->size();
    report->resize(before + static_cast<std::size_t>(size) + 1);
    std::vsnprintf(report->data() + before, static_cast<std::size_t>(size) + 1, format, again);
    report->pop_back();
  }
  va_end(again);
  return size;
}

class Listening {
 public:
  Listening() {
    libbpf_set_print(&collect);
    report = &text_;
  }
  ~Listening() { report = nullptr; }
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

Errc code_of(int error) {
  switch (error) {
    case EPERM:
    case EACCES:
      return Errc::kPermission;
    case ENOENT:
    case ENODEV:
      return Errc::kNotFound;
    case EEXIST:
      return Errc::kAlreadyExists;
    case ENOSYS:
    case EOPNOTSUPP:
      return Errc::kUnsupported;
    case ENOMEM:
    case E2BIG:
    case ENOSPC:
      return Errc::kExhausted;
    default:
      return Errc::kInvalid;
  }
}

tl::unexpected<Error> failed(const std::string& what, int error, const std::string& reason = {}) {
  std::string text = fmt::format("bpf: {}: {}", what, reason.empty() ? std::strerror(error) : reason);
  if (error == EPERM && reason.empty()) text += " (CAP_BPF and CAP_NET_ADMIN are needed)";
  return fail(code_of(error), std::move(text), error);
}

constexpr std::string_view kLogBegins = "-- BEGIN PROG LOAD LOG --\n";
constexpr std::string_view kLogEnds = "-- END PROG LOAD LOG --";

// The reason in what libbpf has reported: the verifier's, or libbpf's own last line.
std::string reason_in(std::string_view text) {
  const std::size_t begin = text.find(kLogBegins);
  if (begin != std::string_view::npos) {
    text.remove_prefix(begin + kLogBegins.size());
    return verifier_reason(text.substr(0, text.find(kLogEnds)));
  }
  return verifier_reason(text);
}

}  // namespace

std::string verifier_reason(std::string_view log) {
  std::string_view reason;
  while (!log.empty()) {
    const std::size_t end = log.find('\n');
    std::string_view line = log.substr(0, end);
    log.remove_prefix(end == std::string_view::npos ? log.size() : end + 1);
    if (line.starts_with("libbpf: ")) line.remove_prefix(8);
    const bool counts = line.starts_with("processed ") || line.starts_with("verification time ") ||
                        line.starts_with("stack depth ") || line.starts_with("failed to load object");
    if (!line.empty() && !counts) reason = line;
  }
  return std::string(reason);
}

BpfMemory::BpfMemory(BpfMemory&& other) noexcept : memory_(std::exchange(other.memory_, {})) {}

BpfMemory& BpfMemory::operator=(BpfMemory&& other) noexcept {
  std::swap(memory_, other.memory_);
  return *this;
}

BpfMemory::~BpfMemory() {
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

Result<BpfMemory> BpfMemory::of(int map_fd, std::size_t value_size) {
  bpf_map_info info{};
  std::uint32_t length = sizeof info;
  if (const int error = bpf_obj_get_info_by_fd(map_fd, &info, &length); error != 0) return failed("read a map", -error);
  if (info.value_size != value_size) {
    return fail(Errc::kInvalid,
                fmt::format("bpf: map {}: its elements have {} bytes, not {}", info.name, info.value_size, value_size));
  }
  const std::size_t size = value_size * info.max_entries;
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
  if (memory == MAP_FAILED) return failed(fmt::format("map the memory of {}", info.name), errno);
  return BpfMemory({static_cast<std::byte*>(memory), size});
}

void BpfObject::Close::operator()(bpf_object* object) const {
  bpf_object__close(object);
}

Result<BpfObject> BpfObject::open(const BpfImage& image) {
  Listening listening;
  const std::string name(image.name);
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  options.object_name = name.c_str();
  bpf_object* object = bpf_object__open_mem(image.bytes.data(), image.bytes.size(), &options);
  if (object == nullptr) return failed("open " + name, errno, reason_in(listening.text()));
  return BpfObject(name, object);
}

Result<> BpfObject::set_entries(const std::string& map, std::uint32_t entries) {
  bpf_map* found = bpf_object__find_map_by_name(object_.get(), map.c_str());
  const int error = found == nullptr ? -ENOENT : bpf_map__set_max_entries(found, entries);
  if (error != 0) return failed(fmt::format("{}: set the size of map {}", name_, map), -error);
  return {};
}

Result<> BpfObject::load() {
  Listening listening;
  const int error = bpf_object__load(object_.get());
  if (error == 0) return {};
  const std::string& text = listening.text();
  if (text.find(kLogBegins) != std::string::npos) {
    return fail(Errc::kInvalid, fmt::format("bpf: load {}: the kernel refuses a program: {}", name_, reason_in(text)),
                -error);
  }
  return failed("load " + name_, -error, error == -EPERM ? "" : reason_in(text));
}

Result<> BpfObject::keep_maps_in(const std::string& folder, std::string_view but) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object_.get()) {
    if (bpf_map__is_internal(map) || bpf_map__name(map) == but) continue;
    const std::string path = folder + "/" + bpf_map__name(map);
    if (const int error = bpf_map__set_pin_path(map, path.c_str()); error != 0)
      return failed(fmt::format("{}: keep map {} in {}", name_, bpf_map__name(map), folder), -error);
  }
  return {};
}

int BpfObject::map(const std::string& name) const {
  const bpf_map* found = bpf_object__find_map_by_name(object_.get(), name.c_str());
  return found == nullptr ? -1 : bpf_map__fd(found);
}

int BpfObject::program(const std::string& name) const {
  const bpf_program* found = bpf_object__find_program_by_name(object_.get(), name.c_str());
  return found == nullptr ? -1 : bpf_program__fd(found);
}

Result<> pin_bpf(int fd, const std::string& path) {
  if (bpf_obj_pin(fd, path.c_str()) != 0) return failed("pin " + path, errno);
  return {};
}

Result<UniqueFd> open_pinned_bpf(const std::string& path) {
  UniqueFd fd(bpf_obj_get(path.c_str()));
  if (!fd) return failed("open " + path, errno);
  return fd;
}

std::uint64_t pinned_bpf_number(const std::string& path) {
  struct stat about{};
  return ::stat(path.c_str(), &about) == 0 ? about.st_ino : 0;
}

Result<> replace_pinned_bpf(int fd, const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failed("remove " + path, errno);
  return pin_bpf(fd, path);
}

Result<UniqueFd> make_bpf_array(const std::string& name, std::uint32_t value_size, std::uint32_t entries) {
  bpf_map_create_opts options{};
  options.sz = sizeof options;
  options.map_flags = BPF_F_MMAPABLE;
  UniqueFd fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, name.substr(0, BPF_OBJ_NAME_LEN - 1).c_str(), sizeof(std::uint32_t),
                             value_size, entries, &options));
  if (!fd) return failed("make array " + name, errno);
  return fd;
}

Result<> set_bpf_element(int map_fd, const void* key, const void* value, bool anew) {
  if (bpf_map_update_elem(map_fd, key, value, anew ? BPF_NOEXIST : BPF_ANY) != 0)
    return failed("set an element", errno);
  return {};
}

Result<bool> find_bpf_element(int map_fd, const void* key, void* value) {
  if (bpf_map_lookup_elem(map_fd, key, value) == 0) return true;
  if (errno == ENOENT) return false;
  return failed("find an element", errno);
}

Result<bool> remove_bpf_element(int map_fd, const void* key) {
  if (bpf_map_delete_elem(map_fd, key) == 0) return true;
  if (errno == ENOENT) return false;
  return failed("remove an element", errno);
}

Result<> for_each_bpf_element(int map_fd, void* key, void* next, void* value, std::size_t key_size,
                              const std::function<void()>& visit) {
  const void* before = nullptr;
  while (bpf_map_get_next_key(map_fd, before, next) == 0) {
    SLUICE_TRY(const bool found, find_bpf_element(map_fd, next, value));
    if (found) visit();
    std::memcpy(key, next, key_size);
    before = key;
  }
  if (errno != ENOENT) return failed("list elements", errno);
  return {};
}

Result<std::uint32_t> bpf_program_id(int program_fd) {
  bpf_prog_info info{};
  std::uint32_t length = sizeof info;
  if (bpf_obj_get_info_by_fd(program_fd, &info, &length) != 0) return failed("read a program", errno);
  return info.id;
}

namespace {

bpf_tc_hook hook_of(const BpfHookPlace& place) {
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = place.interface;
  hook.attach_point = place.hook == BpfHook::kIngress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
  return hook;
}

bpf_tc_opts options_of(const BpfHookPlace& place) {
  bpf_tc_opts options{};
  options.sz = sizeof options;
  options.handle = place.handle;
  options.priority = place.priority;
  return options;
}

std::string named(const char* doing, const BpfHookPlace& place) {
  return fmt::format("{} at {} of interface {}", doing, place.hook == BpfHook::kIngress ? "ingress" : "egress",
                     place.interface);
}

// The kernel has no such kind of queueing discipline or filter: ENOENT. Not kNotFound, which means that the device went.
tl::unexpected<Error> refused(const char* doing, const BpfHookPlace& place, int error, std::string_view text,
                              const char* module) {
  if (error == ENOENT) {
    return fail(Errc::kUnsupported,
                fmt::format("bpf: {}: the kernel has no {}, and no such module was found", named(doing, place), module),
                error);
  }
  return failed(named(doing, place), error, reason_in(text));
}

}  // namespace

Result<std::uint32_t> bpf_program_at(const BpfHookPlace& place) {
  Listening listening;
  const bpf_tc_hook hook = hook_of(place);
  bpf_tc_opts options = options_of(place);
  const int error = bpf_tc_query(&hook, &options);
  // EINVAL: the device has no clsact yet. EOPNOTSUPP: the kernel has no traffic control.
  if (error == -ENOENT || error == -EINVAL || error == -EOPNOTSUPP) return std::uint32_t{0};
  if (error != 0) return failed(named("look for a program", place), -error);
  return options.prog_id;
}

Result<> put_bpf_program(const BpfHookPlace& place, int program_fd) {
  Listening listening;
  bpf_tc_hook hook = hook_of(place);
  // clsact may be there already, ours or another's: it is never removed.
  if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST)
    return refused("make room for a program", place, -error, listening.text(), "sch_ingress");
  bpf_tc_opts options = options_of(place);
  options.prog_fd = program_fd;
  options.flags = BPF_TC_F_REPLACE;
  if (const int error = bpf_tc_attach(&hook, &options); error != 0)
    return refused("put a program", place, -error, listening.text(), "cls_bpf");
  return {};
}

Result<> remove_bpf_program(const BpfHookPlace& place) {
  Listening listening;
  const bpf_tc_hook hook = hook_of(place);
  const bpf_tc_opts options = options_of(place);
  const int error = bpf_tc_detach(&hook, &options);
  if (error != 0 && error != -ENOENT && error != -EINVAL && error != -EOPNOTSUPP)
    return failed(named("remove a program", place), -error);
  return {};
}

Result<BpfRun> run_bpf_program(int program_fd, std::span<const std::byte> packet) {
  BpfRun run;
  run.packet.resize(kPacketMax);
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  options.data_in = packet.data();
  options.data_size_in = static_cast<std::uint32_t>(packet.size());
  options.data_out = run.packet.data();
  options.data_size_out = static_cast<std::uint32_t>(run.packet.size());
  options.repeat = 1;
  if (const int error = bpf_prog_test_run_opts(program_fd, &options); error != 0)
    return failed("run a program", -error);
  run.verdict = options.retval;
  run.packet.resize(options.data_size_out);
  return run;
}

}  // namespace sluice::sys
