// SPDX-License-Identifier: Apache-2.0
#include "sys/state_folder.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <set>

#include "sys/netns.h"
#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

using testing::Contains;
using testing::MatchesRegex;
using testing::Not;
using testing::UnorderedElementsAre;

class StateFolderTest : public testing::Test {
 protected:
  StateFolderTest() {
    char name[] = "/tmp/sluice-state-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~StateFolderTest() override { std::filesystem::remove_all(folder_); }
  void make(const std::string& name) const { std::filesystem::create_directories(folder_ + "/" + name + "/manifests"); }
  [[nodiscard]] bool exists(const std::string& name) const { return std::filesystem::exists(folder_ + "/" + name); }
  std::string folder_;
};

ino_t own_inode() {
  struct stat status{};
  return ::stat("/proc/thread-self/ns/net", &status) == 0 ? status.st_ino : 0;
}

TEST_F(StateFolderTest, NamespacesOneAfterTheOtherNeverShareAName) {
  std::set<std::string> names;
  constexpr int kNamespaces = 20;
  for (int i = 0; i < kNamespaces; ++i) {
    in_fresh_netns([&] {
      EXPECT_EQ(netns_state_name(), netns_state_name());
      names.insert(netns_state_name());
    });
  }
  EXPECT_EQ(names.size(), kNamespaces) << "inode numbers are reused, cookies are not";
  EXPECT_THAT(*names.begin(), MatchesRegex("netns-[0-9]+-[0-9a-f]+-[0-9]+"));
}

TEST_F(StateFolderTest, FoldersOfDeadNamespacesAreRemovedAndOthersStay) {
  const std::string home = netns_state_name();
  std::string gone;
  in_fresh_netns([&] { gone = netns_state_name(); });
  in_fresh_netns([&] {
    const std::string own = netns_state_name();
    const std::string earlier_boot = fmt::format("netns-{}-00000000-1", own_inode() + 1);
    const std::string reused = fmt::format("netns-{}-{}-0", own_inode(), own.substr(own.find('-', 6) + 1, 8));
    const std::string older_form = fmt::format("netns-{}", own_inode());
    for (const std::string& name : {home, gone, own, earlier_boot, reused, older_form, std::string("netns-mine")})
      make(name);
    EXPECT_THAT(sweep_dead_state_folders(folder_), testing::IsSupersetOf({earlier_boot, reused, older_form}));
    EXPECT_TRUE(exists(own));
    EXPECT_TRUE(exists(home)) << "processes are in it";
    EXPECT_TRUE(exists("netns-mine")) << "not ours";
    EXPECT_FALSE(exists(reused));
  });
}

// A name in /run/netns keeps a namespace without processes.
TEST_F(StateFolderTest, ANamedNamespaceIsAliveUntilItIsRemoved) {
  const std::string netns = "sluice-state-folder-test";
  (void)remove_netns(netns);
  ASSERT_TRUE(add_netns(netns));
  std::string name;
  ASSERT_TRUE(in_netns(netns, [&]() -> Result<> {
    name = netns_state_name();
    return {};
  }));
  make(name);
  EXPECT_THAT(sweep_dead_state_folders(folder_), Not(Contains(name)));
  ASSERT_TRUE(remove_netns(netns));
}

TEST_F(StateFolderTest, WithoutAFolderThereIsNothingToRemove) {
  EXPECT_TRUE(sweep_dead_state_folders(folder_ + "/none").empty());
}

}  // namespace
}  // namespace sluice::sys
