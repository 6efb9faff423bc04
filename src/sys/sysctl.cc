// SPDX-License-Identifier: Apache-2.0
// Files under /proc/sys. Those of net/ belong to the network namespace of the thread that opens them (net/sysctl_net.c:
// net_ctl_header_lookup reads current->nsproxy), so opening by path is right on every thread.
//
// A write that changes nothing is avoided: in a container /proc/sys is often read-only, and a value that an
// administrator has set already must not make us fail (as in kube-proxy).
#include "sys/sysctl.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace sluice::sys {
namespace {

Errc code_of(int error) {
  switch (error) {
    case ENOENT:
      return Errc::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return Errc::kPermission;
    case EINVAL:
      return Errc::kInvalid;
    default:
      return Errc::kInternal;
  }
}

auto failed(std::string_view verb, std::string_view name, int error) {
  return fail(code_of(error), "sysctl: " + std::string(verb) + " " + std::string(name) + ": " + std::strerror(error),
              error);
}

std::string path_of(std::string_view name) {
  return name.starts_with('/') ? std::string(name) : "/proc/sys/" + std::string(name);
}

}  // namespace

Result<std::string> read_sysctl(std::string_view name) {
  const UniqueFd file(::open(path_of(name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return failed("read", name, errno);
  std::array<char, 4096> buffer;  // the kernel's sysctl handlers return at most one page
  const ssize_t count = ::read(file.get(), buffer.data(), buffer.size());
  if (count < 0) return failed("read", name, errno);
  std::string value(buffer.data(), static_cast<std::size_t>(count));
  while (!value.empty() && value.back() == '\n') value.pop_back();
  return value;
}

bool sysctl_is_read_only(std::string_view name) {
  struct stat file{};
  return ::stat(("/proc/sys/" + std::string(name)).c_str(), &file) == 0 && (file.st_mode & 0222) == 0;
}

Result<bool> ensure_sysctl(std::string_view name, std::string_view value) {
  SLUICE_TRY(const std::string live, read_sysctl(name));
  if (live == value) return false;
  const UniqueFd file(::open(path_of(name).c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return failed("write", name, errno);
  const ssize_t count = ::write(file.get(), value.data(), value.size());
  if (count < 0) return failed("write", name, errno);
  return true;
}

}  // namespace sluice::sys
