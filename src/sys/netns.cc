// SPDX-License-Identifier: Apache-2.0
// A network namespace lives as long as a process, an open descriptor or a mount refers to it. ip-netns(8) gives it a
// name by bind-mounting /proc/<thread>/ns/net over an empty file in /run/netns; a process that opens that file holds
// the namespace and can enter it with setns(2). We keep to that convention, so that `ip netns exec` and `nsenter
// --net=` find what we make. Removing is unmounting and unlinking: the kernel then takes the namespace down in the
// background (cleanup_net), with every link in it.
#include "sys/netns.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <thread>

#include "base/check.h"

namespace sluice::sys {
namespace {

constexpr const char* kFolder = "/run/netns";
constexpr const char* kOwnNamespace = "/proc/thread-self/ns/net";

Error netns_error(const std::string& what, int error) {
  const Errc code = error == EPERM || error == EACCES ? Errc::kPermission
                    : error == ENOENT                 ? Errc::kNotFound
                    : error == EEXIST                 ? Errc::kAlreadyExists
                    : error == ENOSPC                 ? Errc::kExhausted
                                                      : Errc::kInternal;
  return Error{code, fmt::format("netns: {}: {}", what, std::strerror(error)), error};
}

std::string path_of(const std::string& name) {
  return fmt::format("{}/{}", kFolder, name);
}

Result<> check_name(const std::string& name) {
  if (name.empty() || name.size() > 200 || name.find('/') != std::string::npos || name.starts_with('.')) {
    return fail(Errc::kInvalid, fmt::format("netns: '{}' is not a valid name", name));
  }
  return {};
}

// Makes /run/netns a mount of its own with shared propagation, as ip-netns(8) does: an unmount in one mount namespace
// then reaches the others, and no copy in some container keeps a removed namespace alive.
Result<> ensure_folder() {
  if (::mkdir(kFolder, 0755) != 0 && errno != EEXIST) return tl::unexpected(netns_error("make /run/netns", errno));
  if (::mount("", kFolder, "none", MS_SHARED | MS_REC, nullptr) == 0) return {};
  if (errno != EINVAL) return tl::unexpected(netns_error("share /run/netns", errno));
  if (::mount(kFolder, kFolder, "none", MS_BIND | MS_REC, nullptr) != 0 ||
      ::mount("", kFolder, "none", MS_SHARED | MS_REC, nullptr) != 0) {
    return tl::unexpected(netns_error("mount /run/netns", errno));
  }
  return {};
}

// Makes a namespace and mounts it over `path`. Runs on a thread of its own, because unshare(2) moves the caller.
int mount_new_namespace(const std::string& path) {
  int error = 0;
  std::thread([&path, &error] {
    if (::unshare(CLONE_NEWNET) != 0 || ::mount(kOwnNamespace, path.c_str(), "none", MS_BIND, nullptr) != 0)
      error = errno;
  }).join();
  return error;
}

}  // namespace

Result<> add_netns(const std::string& name) {
  SLUICE_CHECK_OK(check_name(name));
  SLUICE_CHECK_OK(ensure_folder());
  const std::string path = path_of(name);
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
  if (!file) return tl::unexpected(netns_error("add " + name, errno));
  if (const int error = mount_new_namespace(path); error != 0) {
    ::unlink(path.c_str());
    return tl::unexpected(netns_error("add " + name, error));
  }
  return {};
}

Result<> remove_netns(const std::string& name) {
  SLUICE_CHECK_OK(check_name(name));
  const std::string path = path_of(name);
  // EINVAL: not a mount point, which is what a crash between making the file and the mount leaves.
  if (::umount2(path.c_str(), MNT_DETACH) != 0 && errno != EINVAL && errno != ENOENT) {
    return tl::unexpected(netns_error("unmount " + name, errno));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return tl::unexpected(netns_error("remove " + name, errno));
  return {};
}

Result<std::vector<std::string>> list_netns() {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(kFolder), &::closedir);
  if (!folder) {
    if (errno == ENOENT) return names;
    return tl::unexpected(netns_error("list", errno));
  }
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<UniqueFd> open_netns(const std::string& name) {
  SLUICE_CHECK_OK(check_name(name));
  UniqueFd fd(::open(path_of(name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return tl::unexpected(netns_error("open " + name, errno));
  return fd;
}

Result<> enter_netns(const std::string& name) {
  SLUICE_TRY(const UniqueFd fd, open_netns(name));
  if (::setns(fd.get(), CLONE_NEWNET) != 0) return tl::unexpected(netns_error("enter " + name, errno));
  return {};
}

Result<> in_netns(const std::string& name, const std::function<Result<>()>& body) {
  const UniqueFd home(::open(kOwnNamespace, O_RDONLY | O_CLOEXEC));
  if (!home) return tl::unexpected(netns_error("open the own namespace", errno));
  SLUICE_CHECK_OK(enter_netns(name));
  Result<> outcome = body();
  // A thread that is left in the wrong namespace would change the wrong machine from here on.
  SLUICE_CHECK(::setns(home.get(), CLONE_NEWNET) == 0);
  return outcome;
}

Result<NetnsId> netns_id(const std::string& name) {
  SLUICE_CHECK_OK(check_name(name));
  struct stat status{};
  if (::stat(path_of(name).c_str(), &status) != 0) return tl::unexpected(netns_error("look at " + name, errno));
  return NetnsId{status.st_dev, status.st_ino};
}

}  // namespace sluice::sys
