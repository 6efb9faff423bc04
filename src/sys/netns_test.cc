// SPDX-License-Identifier: Apache-2.0
#include "sys/netns.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sys/links.h"

namespace sluice::sys {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;

// Namespaces of one test, removed in every case.
class NetnsTest : public testing::Test {
 protected:
  ~NetnsTest() override {
    for (const std::string& name : made_) (void)remove_netns(name);
  }
  std::string fresh_name(const std::string& word) {
    made_.push_back(fmt::format("slt{}-{}", ::getpid(), word));
    return made_.back();
  }
  std::string make(const std::string& word) {
    std::string name = fresh_name(word);
    const auto added = add_netns(name);
    EXPECT_TRUE(added) << added.error().what;
    return name;
  }
  static NetnsId here() {
    struct stat status{};
    EXPECT_EQ(::stat("/proc/thread-self/ns/net", &status), 0);
    return {status.st_dev, status.st_ino};
  }

 private:
  std::vector<std::string> made_;
};

TEST_F(NetnsTest, IsListedUntilItIsRemoved) {
  const std::string name = make("a");
  EXPECT_THAT(*list_netns(), Contains(name));
  ASSERT_TRUE(remove_netns(name));
  EXPECT_THAT(*list_netns(), Not(Contains(name)));
  EXPECT_TRUE(remove_netns(name)) << "removing a missing one succeeds";
}

TEST_F(NetnsTest, ASecondOfTheSameNameIsRefusedAndTheFirstStays) {
  const std::string name = make("a");
  const NetnsId first = *netns_id(name);
  const auto again = add_netns(name);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Errc::kAlreadyExists);
  EXPECT_EQ(*netns_id(name), first);
}

TEST_F(NetnsTest, NamesThatLeaveTheFolderAreRefused) {
  for (const std::string name : {"", "..", "a/b", "../x"}) {
    const auto added = add_netns(name);
    ASSERT_FALSE(added) << name;
    EXPECT_EQ(added.error().code, Errc::kInvalid) << name;
    EXPECT_FALSE(remove_netns(name)) << name;
  }
}

TEST_F(NetnsTest, AnAbsentOneIsNotFound) {
  const auto opened = open_netns(fresh_name("absent"));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kNotFound);
}

TEST_F(NetnsTest, TheBodyRunsInsideAndTheThreadComesBack) {
  const std::string name = make("a");
  const NetnsId home = here();
  NetnsId inside;
  std::vector<std::string> links;
  const auto ran = in_netns(name, [&]() -> Result<> {
    inside = here();
    SLUICE_TRY(links, list_links());
    return {};
  });
  ASSERT_TRUE(ran) << ran.error().what;
  EXPECT_EQ(inside, *netns_id(name));
  EXPECT_NE(inside, home);
  EXPECT_THAT(links, ElementsAre("lo"));
  EXPECT_EQ(here(), home);
}

TEST_F(NetnsTest, TheThreadComesBackFromAFailingBody) {
  const std::string name = make("a");
  const NetnsId home = here();
  const auto ran = in_netns(name, [] { return Result<>(fail(Errc::kExhausted, "enough")); });
  ASSERT_FALSE(ran);
  EXPECT_EQ(ran.error().code, Errc::kExhausted);
  EXPECT_EQ(here(), home);
}

TEST_F(NetnsTest, LeftoversOfACrashBeforeTheMountCanBeRemoved) {
  make("a");
  const std::string half_made = fresh_name("b");
  const UniqueFd file(::open(("/run/netns/" + half_made).c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0));
  ASSERT_TRUE(file);
  const auto removed = remove_netns(half_made);
  ASSERT_TRUE(removed) << removed.error().what;
  EXPECT_THAT(*list_netns(), Not(Contains(half_made)));
}

}  // namespace
}  // namespace sluice::sys
