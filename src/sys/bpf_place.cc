// SPDX-License-Identifier: Apache-2.0
#include "sys/bpf_place.h"

#include <fmt/format.h>
#include <linux/magic.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace sluice::sys {
namespace {

#ifndef SO_NETNS_COOKIE
constexpr int kNetnsCookie = 71;
#else
constexpr int kNetnsCookie = SO_NETNS_COOKIE;
#endif

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

Result<std::string> bpf_file_system() {
  constexpr std::array kPlaces{"/sys/fs/bpf", "/run/sluice/bpf", "/proc/1/root/sys/fs/bpf"};
  for (const char* place : kPlaces) {
    struct statfs about{};
    if (::statfs(place, &about) == 0 && static_cast<unsigned long>(about.f_type) == BPF_FS_MAGIC)
      return std::string(place);
  }
  return fail(Errc::kUnsupported,
              "no BPF file system is mounted, in which what packets use outlives this process: "
              "mount -t bpf bpf /sys/fs/bpf",
              ENODEV);
}

Result<std::uint64_t> netns_cookie() {
  SLUICE_TRY(const UniqueFd fd, any_socket());
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  if (::getsockopt(fd.get(), SOL_SOCKET, kNetnsCookie, &cookie, &length) != 0)
    return failed("number of the network namespace", errno);
  return cookie;
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
