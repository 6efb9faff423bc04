// SPDX-License-Identifier: Apache-2.0
#include "sys/bpf_place.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/unique_fd.h"
#include "sys/bpf_probe.h"
#include "sys/file_lock.h"

namespace sluice::sys {
namespace {

#ifndef SO_NETNS_COOKIE
constexpr int kNetnsCookie = 71;
#else
constexpr int kNetnsCookie = SO_NETNS_COOKIE;
#endif

constexpr const char* kOwnFolder = "/run/sluice";
constexpr const char* kOwnPlace = "/run/sluice/bpf";
constexpr const char* kOwnPlaceOfFirst = "/proc/1/root/run/sluice/bpf";
constexpr std::array kPlaces{"/sys/fs/bpf", kOwnPlace, "/proc/1/root/sys/fs/bpf", kOwnPlaceOfFirst};
constexpr std::chrono::seconds kLockPatience{10};

bool is_own(const std::string& place) {
  return place == kOwnPlace || place == kOwnPlaceOfFirst;
}

// A path of ours as the first process sees it; where that is out of reach (a sandbox), as this one does.
std::string as_first_sees(const std::string& path) {
  const std::string root = "/proc/1/root";
  return ::access((root + "/").c_str(), X_OK) == 0 ? root + path : path;
}

// Both return 0 or an errno, and make system calls only: another thread may have held any lock at the fork.
int mount_own() {
  if (::mkdir(kOwnFolder, 0755) != 0 && errno != EEXIST) return errno;
  if (::mkdir(kOwnPlace, 0700) != 0 && errno != EEXIST) return errno;
  return ::mount("bpf", kOwnPlace, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") == 0 ? 0 : errno;
}
int unmount_own() {
  return ::umount2(kOwnPlace, UMOUNT_NOFOLLOW) == 0 ? 0 : errno;
}

// Runs one of them in the first process' mount namespace, or the caller's where that is out of reach; what it returns, or an errno. In a child: only
// a process of one thread can enter another mount namespace.
int in_first_mount_namespace(int (*act)()) {
  const UniqueFd first(::open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC));
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) {
    if (first && ::setns(first.get(), CLONE_NEWNS) != 0) ::_exit(errno);
    ::_exit(act());
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return errno;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

// What would keep mount_own() from success, as far as can be known without a change: an errno, or 0.
int obstacle_to_mounting() {
  if (!may_administer_system()) return EPERM;
  std::ifstream known("/proc/filesystems");
  const std::string all((std::istreambuf_iterator<char>(known)), {});
  if (known && all.find("\tbpf\n") == std::string::npos) return ENODEV;
  const std::string place = as_first_sees(kOwnPlace);
  const std::string folder = as_first_sees(kOwnFolder);
  if (::access(place.c_str(), F_OK) == 0) return 0;
  const std::string parent = ::access(folder.c_str(), F_OK) == 0 ? folder : as_first_sees("/run");
  return ::access(parent.c_str(), W_OK) == 0 ? 0 : errno;
}

tl::unexpected<Error> failed(const std::string& what, int error) {
  const Errc code = error == ENODEV                     ? Errc::kNotFound
                    : error == ENOPROTOOPT              ? Errc::kUnsupported
                    : error == EPERM || error == EACCES ? Errc::kPermission
                                                        : Errc::kInternal;
  return fail(code, fmt::format("{}: {}", what, std::strerror(error)), error);
}

Result<UniqueFd> any_socket() {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return failed("open a socket", errno);
  return fd;
}

Result<ifreq> ask(int fd, unsigned long what, const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, sizeof request.ifr_name - 1);
  if (::ioctl(fd, what, &request) != 0) return failed("interface " + name, errno);
  return request;
}

bool has_ethernet_header(unsigned type) {
  return type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK;
}

// Two of them may be one file system.
std::vector<std::string> mounted_places() {
  std::vector<std::string> mounted;
  for (const char* place : kPlaces) {
    struct statfs about{};
    if (::statfs(place, &about) == 0 && static_cast<unsigned long>(about.f_type) == BPF_FS_MAGIC)
      mounted.emplace_back(place);
  }
  return mounted;
}

// Those that could be read, where not all can.
std::vector<std::filesystem::path> entries_of(const std::string& folder) {
  std::vector<std::filesystem::path> entries;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    entries.push_back(entry->path());
  return entries;
}

// Folders of one network namespace's pins: one for each layout that has been used there.
std::vector<std::filesystem::path> pins_in(const std::string& place, std::uint64_t cookie) {
  std::vector<std::filesystem::path> found;
  // There is no such folder where nothing was ever pinned.
  for (const std::filesystem::path& layout : entries_of(place + "/sluice")) {
    std::filesystem::path pins = layout / std::to_string(cookie);
    std::error_code absent;
    if (std::filesystem::exists(pins, absent)) found.push_back(std::move(pins));
  }
  return found;
}

// A folder that could not be filled is not in use.
bool has_pins(const std::filesystem::path& folder) {
  std::error_code error;
  const bool empty = std::filesystem::is_empty(folder, error);
  return error || !empty;
}

// Of the calling thread's network namespace, wherever they are. None on a kernel that has no numbers for namespaces: nothing of ours runs there.
Result<std::vector<std::filesystem::path>> all_pins() {
  std::vector<std::filesystem::path> all;
  const std::vector<std::string> places = mounted_places();
  if (places.empty()) return all;
  const auto cookie = netns_cookie();
  if (!cookie && cookie.error().code == Errc::kUnsupported) return all;
  if (!cookie) return tl::unexpected(cookie.error());
  for (const std::string& place : places) {
    for (std::filesystem::path& pins : pins_in(place, *cookie)) all.push_back(std::move(pins));
  }
  return all;
}

std::string reason_against_mounting(int error) {
  if (error == ENODEV) return "the kernel has none";
  if (error == EPERM && !may_administer_system()) return "this process lacks CAP_SYS_ADMIN";
  return std::strerror(error);
}

tl::unexpected<Error> no_bpf_file_system(int error) {
  return fail(error == EPERM || error == EACCES ? Errc::kPermission : Errc::kUnsupported,
              fmt::format("no BPF file system is mounted, in which what packets use outlives this process, and none "
                          "can be mounted at {}: {}; mount one: mount -t bpf bpf /sys/fs/bpf",
                          kOwnPlace, reason_against_mounting(error)),
              error);
}

Result<std::string> make_bpf_file_system() {
  if (auto place = find_bpf_file_system()) return *std::move(place);
  const int error = in_first_mount_namespace(&mount_own);
  if (error != 0) return no_bpf_file_system(error);
  auto place = find_bpf_file_system();
  return place ? Result<std::string>(*std::move(place)) : no_bpf_file_system(EIO);
}

// Of those who begin to use the file system that is ours and those who take it away: while one is between looking and acting, no other must act.
Result<FileLock> lock_own_folder() {
  const std::string folder = as_first_sees(kOwnFolder);
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return no_bpf_file_system(errno);
  return FileLock::take_existing(folder, kLockPatience);
}

// The number of the file system that is mounted there; 0 for none.
dev_t device_of(const std::string& place) {
  struct stat about{};
  return ::stat(place.c_str(), &about) == 0 ? about.st_dev : 0;
}

// What nothing is pinned in any more is left as it was before the first pin. Not what another process has mounted for itself in its place.
Result<> remove_empty_own_place(dev_t device) {
  SLUICE_TRY(const FileLock lock, lock_own_folder());
  const std::string place = as_first_sees(kOwnPlace);
  if (device_of(place) != device) return {};
  std::error_code error;
  // Not those that have something in them: remove() refuses.
  for (const std::filesystem::path& layout : entries_of(place + "/sluice")) std::filesystem::remove(layout, error);
  std::filesystem::remove(place + "/sluice", error);
  for (const std::filesystem::path& each : entries_of(place)) {
    // The kernel's own, of every such file system, where it is built to have them: maps.debug and progs.debug.
    if (each.extension() != ".debug") return {};
  }
  // Refused where another process looks into it, or this one may not: it stays, empty.
  (void)in_first_mount_namespace(&unmount_own);
  return {};
}

}  // namespace

std::optional<std::string> find_bpf_file_system() {
  const std::vector<std::string> places = mounted_places();
  if (places.empty()) return std::nullopt;
  if (const auto cookie = netns_cookie(); cookie && places.size() > 1) {
    const auto used = std::ranges::find_if(
        places, [&](const std::string& place) { return std::ranges::any_of(pins_in(place, *cookie), has_pins); });
    if (used != places.end()) return *used;
  }
  return places.front();
}

Result<> can_have_bpf_file_system() {
  if (const auto place = find_bpf_file_system()) {
    if (::access(place->c_str(), W_OK) == 0) return {};
    return fail(Errc::kPermission, fmt::format("the BPF file system at {}: {}", *place, std::strerror(errno)), errno);
  }
  const int error = obstacle_to_mounting();
  return error == 0 ? Result<>{} : no_bpf_file_system(error);
}

Result<std::uint64_t> netns_cookie() {
  SLUICE_TRY(const UniqueFd fd, any_socket());
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (::getsockopt(fd.get(), SOL_SOCKET, kNetnsCookie, &cookie, &length) != 0)
    return failed("number of the network namespace", errno);
  return cookie;
}

Result<bool> has_netns_pins() {
  SLUICE_TRY(const auto all, all_pins());
  return std::ranges::any_of(all, has_pins);
}

Result<std::string> make_netns_pins(const std::string& layout) {
  SLUICE_TRY(const std::uint64_t cookie, netns_cookie());
  std::optional<FileLock> lock;
  std::optional<std::string> place = find_bpf_file_system();
  if (!place || is_own(*place)) {
    SLUICE_TRY(lock, lock_own_folder());
    SLUICE_TRY(place, make_bpf_file_system());
  }
  const std::filesystem::path all = *place + "/sluice";
  const std::filesystem::path folder = all / layout / std::to_string(cookie);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error)
    return fail(Errc::kPermission, fmt::format("make the folder {}: {}", folder.string(), error.message()),
                error.value());
  for (const std::filesystem::path& each : {all, folder})
    std::filesystem::permissions(each, std::filesystem::perms::owner_all, error);
  return folder.string();
}

namespace {

Result<> remove_pins(bool empty_only) {
  SLUICE_TRY(const auto all, all_pins());
  std::optional<dev_t> own;
  for (const std::filesystem::path& pins : all) {
    if (empty_only && has_pins(pins)) continue;
    const std::string place = pins.parent_path().parent_path().parent_path().string();
    std::error_code refused;
    std::filesystem::remove_all(pins, refused);
    if (refused) return failed("remove " + pins.string(), refused.value());
    if (is_own(place)) own = device_of(place);
  }
  return own ? remove_empty_own_place(*own) : Result<>{};
}

}  // namespace

Result<> remove_netns_pins() {
  return remove_pins(false);
}

Result<> remove_empty_netns_pins() {
  return remove_pins(true);
}

Result<std::vector<Device>> list_devices() {
  SLUICE_TRY(const UniqueFd fd, any_socket());
  struct if_nameindex* all = ::if_nameindex();
  if (all == nullptr) return failed("list interfaces", errno);
  std::vector<Device> devices;
  for (const struct if_nameindex* each = all; each->if_index != 0; ++each) {
    const auto request = ask(fd.get(), SIOCGIFHWADDR, each->if_name);
    if (!request) continue;  // it is gone meanwhile
    devices.push_back(
        {static_cast<int>(each->if_index), each->if_name, has_ethernet_header(request->ifr_hwaddr.sa_family)});
  }
  ::if_freenameindex(all);
  return devices;
}

Result<std::uint32_t> device_mtu(const std::string& name) {
  SLUICE_TRY(const UniqueFd fd, any_socket());
  SLUICE_TRY(const ifreq request, ask(fd.get(), SIOCGIFMTU, name));
  return static_cast<std::uint32_t>(request.ifr_mtu);
}

}  // namespace sluice::sys
