// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroups.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace sluice::sys {
namespace {

class Cgroups : public testing::Test {
 protected:
  ~Cgroups() override { (void)remove_cgroup(name_); }
  [[nodiscard]] static bool exists(const std::string& name) {
    const auto found = cgroup_exists(name);
    EXPECT_TRUE(found) << found.error().what;
    return found && *found;
  }
  const std::string name_ = fmt::format("sluice-test{}", ::getpid());
};

TEST_F(Cgroups, AreMadeAndRemovedWithThoseInThem) {
  ASSERT_FALSE(exists(name_));
  const auto added = add_cgroup(name_ + "/one/two");
  ASSERT_TRUE(added) << added.error().what;
  EXPECT_TRUE(add_cgroup(name_ + "/one/two"));
  EXPECT_TRUE(exists(name_ + "/one"));
  const auto removed = remove_cgroup(name_);
  EXPECT_TRUE(removed) << removed.error().what;
  EXPECT_FALSE(exists(name_));
  EXPECT_TRUE(remove_cgroup(name_));
}

TEST_F(Cgroups, AreRemovedOnceAProcessThatWasKilledHasLeft) {
  ASSERT_TRUE(add_cgroup(name_));
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  int joined = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator("/sys/fs/cgroup", error)) {
    if (entry.path().filename() != name_) continue;
    std::ofstream procs(entry.path() / "cgroup.procs");
    procs << child << std::flush;
    if (procs) ++joined;
  }
  EXPECT_GT(joined, 0);
  std::thread killer([child] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  });
  const auto removed = remove_cgroup(name_);
  killer.join();
  EXPECT_TRUE(removed) << removed.error().what;
  EXPECT_FALSE(exists(name_));
}

}  // namespace
}  // namespace sluice::sys
