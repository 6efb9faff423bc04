// SPDX-License-Identifier: Apache-2.0
// A namespace exists as long as a task is in it, a mount holds it, or a descriptor does; so a search for dead ones
// reads every task's namespace, every mount table for "nsfs", and, if anything is still undecided, every
// descriptor. In a container most of that cannot be seen, and only what is certain is removed.
#include "sys/state_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string_view>

#include "base/unique_fd.h"
#include "sys/node_notes.h"

namespace sluice::sys {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNetworkNamespace = "/proc/thread-self/ns/net";
constexpr const char* kPidNamespace = "/proc/self/ns/pid";
constexpr ino_t kFirstPidNamespace = 0xEFFFFFFC;  // PROC_PID_INIT_INO in include/linux/proc_ns.h
constexpr const char* kFoldersKind = "folders";
constexpr std::string_view kPrefix = "netns-";
constexpr std::size_t kBootDigits = 8;

ino_t inode_of(const std::string& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

std::string boot() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id.empty() ? "0" : id.substr(0, kBootDigits);
}

std::uint64_t netns_cookie() {
  std::uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  const UniqueFd any(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (any) (void)::getsockopt(any.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length);
  return cookie;
}

// "netns-4026531840-3f2a9c1e-1"; before it had cookies, "netns-4026531840".
struct Name {
  ino_t inode = 0;
  std::string boot;  // empty: of the older form
};
std::optional<Name> parse(std::string_view text) {
  if (!text.starts_with(kPrefix)) return std::nullopt;
  text.remove_prefix(kPrefix.size());
  Name name;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), name.inode);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.empty()) return name;
  const std::size_t second = text.find('-', 1);
  if (text.front() != '-' || second == std::string_view::npos) return std::nullopt;
  name.boot = text.substr(1, second - 1);
  return name;
}

// "net:[4026531840]"
std::optional<ino_t> parse_link(std::string_view text) {
  constexpr std::string_view kHead = "net:[";
  if (!text.starts_with(kHead)) return std::nullopt;
  text.remove_prefix(kHead.size());
  ino_t inode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), inode);
  return error == std::errc() && end != text.data() + text.size() && *end == ']' ? std::optional(inode) : std::nullopt;
}

void add_mounted(const std::string& process, std::set<ino_t>& live) {
  std::ifstream file(process + "/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t at = line.find(" net:[");
    if (at == std::string::npos) continue;
    if (const auto inode = parse_link(std::string_view(line).substr(at + 1))) live.insert(*inode);
  }
}

void add_open(const std::string& process, std::set<ino_t>& live) {
  std::error_code error;
  for (const auto& descriptor : fs::directory_iterator(process + "/fd", error)) {
    std::array<char, 64> target{};
    const ssize_t length = ::readlink(descriptor.path().c_str(), target.data(), target.size());
    if (length <= 0) continue;
    if (const auto inode = parse_link({target.data(), static_cast<std::size_t>(length)})) live.insert(*inode);
  }
}

// The inodes of all namespaces of the machine that anything holds.
std::set<ino_t> live_namespaces() {
  std::set<ino_t> live;
  std::set<ino_t> mount_namespaces;
  std::error_code error;
  for (const auto& process : fs::directory_iterator("/proc", error)) {
    const std::string name = process.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    for (const auto& task : fs::directory_iterator(process.path() / "task", error))
      live.insert(inode_of(task.path().string() + "/ns/net"));
    if (mount_namespaces.insert(inode_of(process.path().string() + "/ns/mnt")).second)
      add_mounted(process.path().string(), live);
    add_open(process.path().string(), live);
  }
  return live;
}

}  // namespace

std::string netns_state_name() {
  return fmt::format("{}{}-{}-{}", kPrefix, inode_of(kNetworkNamespace), boot(), netns_cookie());
}

std::string state_folder(const std::string& data_folder) {
  return data_folder + "/" + netns_state_name();
}

Result<> note_state_folder(const std::string& folder) {
  std::set<std::string> folders = noted_state_folders();
  folders.insert(folder);
  return replace_notes(kernel_notes(), kFoldersKind, {folders.begin(), folders.end()});
}

// A note may come from any process: only folders that have this namespace's name are trusted.
std::set<std::string> noted_state_folders() {
  std::set<std::string> folders;
  const auto notes = kernel_notes().read();
  if (!notes || !notes->contains(kFoldersKind)) return folders;
  const std::string own = netns_state_name();
  for (const std::string& folder : notes->at(kFoldersKind)) {
    if (folder.starts_with('/') && fs::path(folder).filename() == own && folder.find("/../") == std::string::npos)
      folders.insert(folder);
  }
  return folders;
}

Result<> forget_state_folders() {
  return replace_notes(kernel_notes(), kFoldersKind, {});
}

std::vector<std::string> sweep_dead_state_folders(const std::string& data_folder) {
  const std::string own = netns_state_name();
  const ino_t own_inode = inode_of(kNetworkNamespace);
  const std::string this_boot = boot();
  std::vector<std::string> dead;
  std::vector<std::pair<std::string, ino_t>> undecided;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(data_folder, error)) {
    std::string text = entry.path().filename().string();
    const auto name = parse(text);
    if (!name || text == own) continue;
    const bool other_boot = !name->boot.empty() && name->boot != this_boot;
    if (other_boot || name->inode == own_inode) {
      dead.push_back(std::move(text));
    } else {
      undecided.emplace_back(std::move(text), name->inode);
    }
  }
  if (!undecided.empty() && inode_of(kPidNamespace) == kFirstPidNamespace) {
    const std::set<ino_t> live = live_namespaces();
    for (auto& [text, inode] : undecided) {
      if (!live.contains(inode)) dead.push_back(std::move(text));
    }
  }
  for (const std::string& text : dead) fs::remove_all(data_folder + "/" + text, error);
  return dead;
}

Result<> write_state_file(const std::string& path, const std::string& text) {
  const auto failed = [&path](int error) {
    return fail(error == EACCES || error == EPERM || error == EROFS ? Errc::kPermission : Errc::kInternal,
                fmt::format("write {}: {}", path, std::strerror(error)), error);
  };
  std::error_code ignored;  // the open reports the error
  fs::create_directories(fs::path(path).parent_path(), ignored);
  const std::string fresh = path + ".new";
  {
    const UniqueFd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!file) return failed(errno);
    for (std::size_t done = 0; done < text.size();) {
      const ssize_t written = ::write(file.get(), text.data() + done, text.size() - done);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return failed(errno);
      done += static_cast<std::size_t>(written);
    }
  }
  if (std::rename(fresh.c_str(), path.c_str()) != 0) return failed(errno);
  return {};
}

}  // namespace sluice::sys
