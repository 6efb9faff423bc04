// SPDX-License-Identifier: Apache-2.0
// inotify(7): reports when files of one folder change, also through the symlink swaps by which kubelet updates a
// mounted ConfigMap.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace sluice::sys {

class FolderWatch {
 public:
  // Watches `folder` for entries that are written and closed, moved in or out, created or deleted, and for its own end.
  static Result<FolderWatch> open(const std::string& folder);
  // For poll(2): readable when read_names() has something to return.
  [[nodiscard]] int fd() const { return fd_.get(); }
  // Names of entries that changed since the last call, without blocking; "" among them means that events were lost or
  // the folder itself was removed: look at everything.
  Result<std::vector<std::string>> read_names();

 private:
  explicit FolderWatch(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace sluice::sys
