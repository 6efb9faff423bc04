// SPDX-License-Identifier: Apache-2.0
// inotify names entries of a folder, not files: right for us, since a file that is replaced by a rename is another file
// of the same name. When its queue overflows, or the folder itself is removed, the kernel reports it once; then nothing
// that it reported before is complete.
#include "sys/folder_watch.h"

#include <fmt/format.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace sluice::sys {
namespace {

constexpr std::uint32_t kEntryEvents = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE;
constexpr std::uint32_t kFolderEvents = IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_Q_OVERFLOW | IN_UNMOUNT;

}  // namespace

Result<FolderWatch> FolderWatch::open(const std::string& folder) {
  UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd) return fail(Errc::kExhausted, fmt::format("inotify: {}", std::strerror(errno)), errno);
  if (::inotify_add_watch(fd.get(), folder.c_str(), kEntryEvents | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR) < 0) {
    const Errc code = errno == ENOENT || errno == ENOTDIR ? Errc::kNotFound
                      : errno == EACCES                   ? Errc::kPermission
                                                          : Errc::kInternal;
    return fail(code, fmt::format("watch {}: {}", folder, std::strerror(errno)), errno);
  }
  return FolderWatch(std::move(fd));
}

Result<std::vector<std::string>> FolderWatch::read_names() {
  std::vector<std::string> names;
  alignas(inotify_event) std::array<char, 16384> buffer{};
  while (true) {
    const ssize_t length = ::read(fd_.get(), buffer.data(), buffer.size());
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) return names;
    if (length <= 0) return fail(Errc::kInternal, fmt::format("inotify: read: {}", std::strerror(errno)), errno);
    for (std::size_t at = 0; at < static_cast<std::size_t>(length);) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
      const bool whole_folder = (event->mask & kFolderEvents) != 0;
      names.emplace_back(whole_folder || event->len == 0 ? "" : event->name);
      at += sizeof(inotify_event) + event->len;
    }
  }
}

}  // namespace sluice::sys
