// SPDX-License-Identifier: Apache-2.0
// main() of every test program: GoogleTest, plus a listener that fails a test which leaves a file descriptor open.
#include <dirent.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

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

}  // namespace

namespace sluice {

std::string source_path(const std::string& file) {
  return std::string(SLUICE_SOURCE_DIR "/") + file;
}

}  // namespace sluice

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  testing::UnitTest::GetInstance()->listeners().Append(new DescriptorListener);
  return RUN_ALL_TESTS();
}
