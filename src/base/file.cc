// SPDX-License-Identifier: Apache-2.0
#include "base/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace sluice {

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    const int error = errno;
    return fail(error == EACCES || error == EPERM ? Errc::kPermission : Errc::kNotFound,
                fmt::format("open {}: {}", path, std::strerror(error)), error);
  }
  std::string text;
  std::array<char, 16 * 1024> piece{};
  for (;;) {
    const ssize_t size = ::read(file.get(), piece.data(), piece.size());
    if (size < 0) {
      const int error = errno;
      if (error == EINTR) continue;
      return fail(Errc::kUnavailable, fmt::format("read {}: {}", path, std::strerror(error)), error);
    }
    if (size == 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(size));
    if (text.size() > bytes_max)
      return fail(Errc::kExhausted, fmt::format("{}: longer than {} bytes", path, bytes_max));
  }
}

std::string_view base_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);
}

}  // namespace sluice
