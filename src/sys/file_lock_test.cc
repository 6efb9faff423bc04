// SPDX-License-Identifier: Apache-2.0
#include "sys/file_lock.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <thread>

namespace sluice::sys {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

class FileLockTest : public testing::Test {
 protected:
  FileLockTest() : folder_(fmt::format("{}/lock{}", testing::TempDir(), ::getpid())), path_(folder_ + "/lock") {
    std::filesystem::create_directories(folder_);
  }
  ~FileLockTest() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
  std::string path_;
};

TEST_F(FileLockTest, ExcludesTheSecondUntilTheFirstReleasesIt) {
  {
    const auto first = FileLock::take(path_, milliseconds(0));
    ASSERT_TRUE(first) << first.error().what;
    const auto second = FileLock::take(path_, milliseconds(20));
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::kUnavailable);
  }
  EXPECT_TRUE(FileLock::take(path_, milliseconds(0)));
}

TEST_F(FileLockTest, AFolderCanBeLockedAndIsNotMade) {
  {
    const auto first = FileLock::take_existing(folder_, milliseconds(0));
    ASSERT_TRUE(first) << first.error().what;
    EXPECT_EQ(FileLock::take_existing(folder_, milliseconds(20)).error().code, Errc::kUnavailable);
  }
  EXPECT_TRUE(FileLock::take_existing(folder_, milliseconds(0)));
  EXPECT_EQ(FileLock::take_existing(path_, milliseconds(0)).error().code, Errc::kNotFound);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(FileLockTest, WithoutItsFolderItIsNotFound) {
  const auto lock = FileLock::take(folder_ + "/absent/lock", milliseconds(0));
  ASSERT_FALSE(lock);
  EXPECT_EQ(lock.error().code, Errc::kNotFound);
}

TEST_F(FileLockTest, AWaiterForALockWhoseFolderIsRemovedGetsNotFound) {
  auto held = std::optional(FileLock::take(path_, milliseconds(0)));
  ASSERT_TRUE(*held);
  std::optional<Errc> code;
  std::thread waiter([&] {
    const auto lock = FileLock::take(path_, minutes(1));
    if (!lock) code = lock.error().code;
  });
  // At once: while files are removed one by one, the waiter could create the lock's again.
  const std::string gone = folder_ + ".gone";
  std::filesystem::rename(folder_, gone);
  held.reset();
  waiter.join();
  std::filesystem::remove_all(gone);
  EXPECT_EQ(code, Errc::kNotFound);
}

}  // namespace
}  // namespace sluice::sys
