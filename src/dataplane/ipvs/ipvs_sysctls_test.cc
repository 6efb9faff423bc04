// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/ipvs_sysctls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <map>

namespace sluice::dataplane::ipvs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

// A folder, and settings that are a map.
class SysctlsTest : public testing::Test {
 protected:
  SysctlsTest() {
    char name[] = "/tmp/sluice-sysctls-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~SysctlsTest() override { std::filesystem::remove_all(folder_); }
  SysctlAccess access() {
    return {.read = [this](std::string_view name) -> Result<std::string> {
              const auto found = values_.find(std::string(name));
              if (found == values_.end()) return fail(Errc::kNotFound, "read " + std::string(name));
              return found->second;
            },
            .write = [this](std::string_view name, std::string_view value) -> Result<> {
              if (read_only_) return fail(Errc::kPermission, "write " + std::string(name));
              values_[std::string(name)] = value;
              return {};
            }};
  }
  std::string folder_;
  std::map<std::string, std::string> values_{{"a", "0"}, {"b", "1"}};
  bool read_only_ = false;
};

TEST_F(SysctlsTest, OnlyWhatDiffersIsWrittenAndAllOfThatIsPutBack) {
  const auto applied = apply_sysctls({{"a", "1"}, {"b", "1"}}, folder_, access());
  EXPECT_THAT(applied.changed, ElementsAre(SysctlSetting{"a", "1"}));
  EXPECT_THAT(applied.problems, IsEmpty());
  const auto restored = restore_sysctls(folder_, access());
  EXPECT_THAT(restored.changed, ElementsAre(SysctlSetting{"a", "0"}));
  EXPECT_THAT(values_, ElementsAre(Pair("a", "0"), Pair("b", "1")));
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(SysctlsTest, TheOldestValueIsKeptOverRestarts) {
  (void)apply_sysctls({{"a", "1"}}, folder_, access());
  values_["a"] = "5";
  (void)apply_sysctls({{"a", "1"}}, folder_, access());
  (void)restore_sysctls(folder_, access());
  EXPECT_EQ(values_["a"], "0");
}

TEST_F(SysctlsTest, WhatSomebodyElseChangedSinceIsLeft) {
  (void)apply_sysctls({{"a", "1"}}, folder_, access());
  values_["a"] = "7";
  EXPECT_THAT(restore_sysctls(folder_, access()).changed, IsEmpty());
  EXPECT_EQ(values_["a"], "7");
  values_["a"] = "1";
  EXPECT_THAT(restore_sysctls(folder_, access()).changed, IsEmpty()) << "the record is gone";
}

TEST_F(SysctlsTest, AMissingOrReadOnlySettingIsAProblemAndTheOthersAreSet) {
  const auto applied = apply_sysctls({{"absent", "1"}, {"a", "1"}}, folder_, access());
  ASSERT_EQ(applied.problems.size(), 1u);
  EXPECT_THAT(applied.problems[0].what, HasSubstr("absent"));
  EXPECT_EQ(values_["a"], "1");
  read_only_ = true;
  EXPECT_EQ(restore_sysctls(folder_, access()).problems.size(), 1u);
  read_only_ = false;
  EXPECT_THAT(restore_sysctls(folder_, access()).changed, ElementsAre(SysctlSetting{"a", "0"}))
      << "what could not be put back stays on record";
}

TEST_F(SysctlsTest, NoRecordIsAProblemAndTheSettingIsMadeAllTheSame) {
  const auto applied = apply_sysctls({{"a", "1"}}, "/proc/no-such-folder", access());
  EXPECT_EQ(applied.problems.size(), 1u);
  EXPECT_EQ(values_["a"], "1");
}

TEST(WantedSysctls, ByKernelAndStrictArp) {
  const auto names = [](const std::vector<SysctlSetting>& settings) {
    std::vector<std::string> found;
    for (const auto& each : settings) found.push_back(each.name + "=" + each.value);
    return found;
  };
  EXPECT_THAT(names(wanted_sysctls(false, {6, 1})),
              ElementsAre("net/ipv4/vs/conntrack=1", "net/ipv4/vs/expire_nodest_conn=1",
                          "net/ipv4/vs/expire_quiescent_template=1", "net/ipv4/ip_forward=1"));
  EXPECT_THAT(names(wanted_sysctls(false, {5, 8})), testing::Contains("net/ipv4/vs/conn_reuse_mode=0"));
  EXPECT_THAT(names(wanted_sysctls(false, {5, 10})), testing::Not(testing::Contains("net/ipv4/vs/conn_reuse_mode=0")));
  EXPECT_THAT(names(wanted_sysctls(true, {6, 1})),
              testing::IsSupersetOf(
                  {std::string("net/ipv4/conf/all/arp_ignore=1"), std::string("net/ipv4/conf/all/arp_announce=2")}));
  EXPECT_GE(kernel_version(), (KernelVersion{4, 0}));
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
