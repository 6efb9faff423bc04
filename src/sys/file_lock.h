// SPDX-License-Identifier: Apache-2.0
// A lock between processes that the kernel releases when its holder ends, however it ends (flock(2)).
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace sluice::sys {

class FileLock {
 public:
  // Makes the file where it is missing. Waits at most `timeout`, then Errc::kUnavailable. Errc::kNotFound where the
  // folder is missing, also if it went while we waited.
  static Result<FileLock> take(const std::string& path, std::chrono::milliseconds timeout);

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace sluice::sys
