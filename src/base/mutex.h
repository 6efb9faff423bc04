// SPDX-License-Identifier: Apache-2.0
// std::mutex with the annotations that clang's -Wthread-safety reads (libstdc++'s own carries none).
#pragma once

#include <mutex>

#if defined(__clang__)
#define SLUICE_TS_(x) __attribute__((x))
#else
#define SLUICE_TS_(x)
#endif
#define SLUICE_GUARDED_BY(mutex) SLUICE_TS_(guarded_by(mutex))
#define SLUICE_REQUIRES(mutex) SLUICE_TS_(requires_capability(mutex))

namespace sluice {

class SLUICE_TS_(capability("mutex")) Mutex {
 public:
  void lock() SLUICE_TS_(acquire_capability()) { mutex_.lock(); }
  void unlock() SLUICE_TS_(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class SLUICE_TS_(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) SLUICE_TS_(acquire_capability(mutex)) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() SLUICE_TS_(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace sluice
