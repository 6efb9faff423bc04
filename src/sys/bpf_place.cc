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

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/unique_fd.h"

namespace sluice::sys {
namespace {

#ifndef SO_NETNS_COOKIE
constexpr int kNetnsCookie = 71;
#else
constexpr int kNetnsCookie = SO_NETNS_COOKIE;
#endif

constexpr const char* kOwnPlace = "/run/sluice/bpf";
constexpr const char* kOwnPlaceOfFirst = "/proc/1/root/run/sluice/bpf";

// Mounts a BPF file system at kOwnPlace; 0 or an errno. In a child: only a process of one thread can enter another mount namespace. Where the
// first process is out of reach (a sandbox), the caller's own mount namespace has to do.
int mount_at_own_place() {
  const UniqueFd first(::open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC));
  const pid_t child = ::fork();
  if (child < 0) return errno;
  if (child == 0) {
    // Only system calls: another thread may have held any lock at the fork.
    if (first && ::setns(first.get(), CLONE_NEWNS) != 0) ::_exit(errno);
    if (::mkdir("/run/sluice", 0755) != 0 && errno != EEXIST) ::_exit(errno);
    if (::mkdir(kOwnPlace, 0700) != 0 && errno != EEXIST) ::_exit(errno);
    if (::mount("bpf", kOwnPlace, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0) ::_exit(errno);
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return errno;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

tl::unexpected<Error> failed(const std::string& what, int error) {
  const Errc code = error == ENODEV                     ? Errc::kNotFound
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

}  // namespace

std::optional<std::string> find_bpf_file_system() {
  constexpr std::array kPlaces{"/sys/fs/bpf", kOwnPlace, "/proc/1/root/sys/fs/bpf", kOwnPlaceOfFirst};
  for (const char* place : kPlaces) {
    struct statfs about{};
    if (::statfs(place, &about) == 0 && static_cast<unsigned long>(about.f_type) == BPF_FS_MAGIC)
      return std::string(place);
  }
  return std::nullopt;
}

Result<std::string> make_bpf_file_system() {
  if (auto place = find_bpf_file_system()) return *std::move(place);
  const int error = mount_at_own_place();
  if (error == 0) {
    if (auto place = find_bpf_file_system()) return *std::move(place);
  }
  return fail(error == EPERM || error == EACCES ? Errc::kPermission : Errc::kUnsupported,
              fmt::format("no BPF file system is mounted, in which what packets use outlives this process, and none "
                          "can be mounted at {}: {}; "
                          "mount one: mount -t bpf bpf /sys/fs/bpf",
                          kOwnPlace, error == ENODEV ? "the kernel has none" : std::strerror(error == 0 ? EIO : error)),
              error);
}

Result<std::uint64_t> netns_cookie() {
  SLUICE_TRY(const UniqueFd fd, any_socket());
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (::getsockopt(fd.get(), SOL_SOCKET, kNetnsCookie, &cookie, &length) != 0)
    return failed("number of the network namespace", errno);
  return cookie;
}

Result<> remove_netns_pins() {
  const auto file_system = find_bpf_file_system();
  if (!file_system) return {};
  SLUICE_TRY(const std::uint64_t cookie, netns_cookie());
  std::error_code error;
  for (const auto& layout : std::filesystem::directory_iterator(*file_system + "/sluice", error)) {
    const auto pins = layout.path() / std::to_string(cookie);
    std::error_code refused;
    std::filesystem::remove_all(pins, refused);
    if (refused) return failed("remove " + pins.string(), refused.value());
  }
  return {};  // with an error there is no such folder: nothing was ever pinned
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
