// SPDX-License-Identifier: Apache-2.0
// Reports that links or addresses of a network namespace have changed, by rtnetlink's notifications.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace sluice::sys {

class LinkWatch {
 public:
  // Of the namespace that the calling thread is in now.
  static Result<LinkWatch> open();
  // For poll(2): readable when take_changes() has something to return.
  [[nodiscard]] int fd() const { return fd_.get(); }
  // Whether something has changed since the last call, or may have. Does not block. What has changed is to be looked up: the notifications
  // of a busy node can be lost.
  Result<bool> take_changes();

 private:
  explicit LinkWatch(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace sluice::sys
