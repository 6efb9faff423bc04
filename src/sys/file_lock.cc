// SPDX-License-Identifier: Apache-2.0
// The lock is on the open file, not on its name. If the holder removes the file before it releases it, a process that
// waited for it then holds the lock of a file that no other process can open any more; so the name is checked again
// once the lock is taken.
#include "sys/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <thread>

namespace sluice::sys {
namespace {

constexpr std::chrono::milliseconds kPollInterval{5};

auto lock_error(const std::string& path, int error) {
  const Errc code = error == ENOENT                     ? Errc::kNotFound
                    : error == EACCES || error == EPERM ? Errc::kPermission
                                                        : Errc::kInternal;
  return fail(code, "lock " + path + ": " + std::strerror(error), error);
}

bool still_named(const UniqueFd& fd, const std::string& path) {
  struct stat open{};
  struct stat named{};
  return ::fstat(fd.get(), &open) == 0 && ::stat(path.c_str(), &named) == 0 && open.st_ino == named.st_ino &&
         open.st_dev == named.st_dev;
}

}  // namespace

Result<FileLock> FileLock::take(const std::string& path, std::chrono::milliseconds timeout) {
  return take_opened(path, O_RDWR | O_CREAT, timeout);
}

Result<FileLock> FileLock::take_existing(const std::string& path, std::chrono::milliseconds timeout) {
  return take_opened(path, O_RDONLY, timeout);
}

Result<FileLock> FileLock::take_opened(const std::string& path, int flags, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
    if (!fd) return lock_error(path, errno);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
      if (still_named(fd, path)) return FileLock(std::move(fd));
      continue;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) return lock_error(path, errno);
    if (std::chrono::steady_clock::now() >= deadline)
      return fail(Errc::kUnavailable, "lock " + path + ": another process holds it");
    std::this_thread::sleep_for(kPollInterval);
  }
}

}  // namespace sluice::sys
