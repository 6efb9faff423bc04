// SPDX-License-Identifier: Apache-2.0
// main() of every test program: GoogleTest, plus a listener that fails a test which leaves a file descriptor open, and
// a folder that no other program uses.
#include <dirent.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>

#include "base/check.h"
#include "base/test_paths.h"

namespace {

std::set<std::string> open_descriptors() {
  std::set<std::string> names;
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return names;
  const std::string own = std::to_string(::dirfd(folder));
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] != '.' && own != entry->d_name) names.insert(entry->d_name);
  }
  ::closedir(folder);
  return names;
}

class DescriptorListener : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override { before_ = open_descriptors(); }
  void OnTestEnd(const testing::TestInfo&) override {
    for (const std::string& name : open_descriptors()) {
      EXPECT_TRUE(before_.contains(name)) << "the test left file descriptor " << name << " open";
    }
  }
  std::set<std::string> before_;
};

// What testing::TempDir() returns. Tests run in parallel, also those of two builds, and many of their files have
// fixed names. The lock of iptables' legacy programs, /run/xtables.lock, is shared whatever network namespace they
// are in: a program that does not wait for it fails, one that does may wait for too short a time.
class OwnFolder {
 public:
  OwnFolder() {
    SLUICE_CHECK(::mkdtemp(path_.data()) != nullptr);
    ::setenv("TEST_TMPDIR", path_.c_str(), 1);
    ::setenv("XTABLES_LOCKFILE", (path_ + "/xtables.lock").c_str(), 1);
  }
  ~OwnFolder() { std::filesystem::remove_all(path_); }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;

 private:
  std::string path_ = testing::TempDir() + "sluice-test-XXXXXX";
};

}  // namespace

namespace sluice {

std::string source_path(const std::string& file) {
  return std::string(SLUICE_SOURCE_DIR "/") + file;
}

}  // namespace sluice

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const OwnFolder folder;
  testing::UnitTest::GetInstance()->listeners().Append(new DescriptorListener);
  return RUN_ALL_TESTS();
}
