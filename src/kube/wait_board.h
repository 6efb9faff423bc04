// SPDX-License-Identifier: Apache-2.0
// Where the parts of a source write down what they wait for, and where `sluice status` and the health server read it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "kube/source.h"

namespace sluice::kube {

// Any thread may call it.
class WaitBoard {
 public:
  explicit WaitBoard(const Clock& clock = system_clock()) : clock_(clock) {}
  // `who` waits for one thing at a time. The wait counts from the first time it named it, even if the reason changes.
  void wait(const std::string& who, WaitsFor what, const std::string& name, const std::string& reason);
  void done(const std::string& who);
  // What several wait for is one entry: since the first of them, with the latest reason.
  [[nodiscard]] std::vector<Waiting> list() const;

 private:
  struct Entry {
    Waiting waiting;
    std::uint64_t reported = 0;  // the order of the reasons
  };
  const Clock& clock_;
  mutable Mutex mutex_;
  std::map<std::string, Entry> entries_ SLUICE_GUARDED_BY(mutex_);
  std::uint64_t reported_ SLUICE_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::kube
