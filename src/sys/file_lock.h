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
  // Creates the file if missing. Waits at most `timeout`, then Errc::kUnavailable. Errc::kNotFound if the
  // folder is missing, also if it was removed while we waited.
  static Result<FileLock> take(const std::string& path, std::chrono::milliseconds timeout);
  // The same of a file or folder that exists and is not made: a folder of a BPF file system, which holds no plain files.
  static Result<FileLock> take_existing(const std::string& path, std::chrono::milliseconds timeout);

 private:
  static Result<FileLock> take_opened(const std::string& path, int flags, std::chrono::milliseconds timeout);
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace sluice::sys
