// SPDX-License-Identifier: Apache-2.0
#include "sys/sysctl_journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <map>

namespace sluice::sys {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

// A folder, and maps in place of settings and notes.
class JournalTest : public testing::Test {
 protected:
  JournalTest() {
    char name[] = "/tmp/sluice-journal-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~JournalTest() override { std::filesystem::remove_all(folder_); }

  SysctlAccess sysctls() {
    return {.read = [this](std::string_view name) -> Result<std::string> {
              const auto found = values_.find(std::string(name));
              if (found == values_.end()) return fail(Errc::kNotFound, "read " + std::string(name));
              return found->second;
            },
            .write = [this](std::string_view name, std::string_view value) -> Result<> {
              if (read_only_) return fail(Errc::kPermission, "write " + std::string(name));
              recorded_before_write_ = recorded_before_write_ && journal().entries().contains(std::string(name));
              values_[std::string(name)] = name == "rounded" ? "1024" : value;
              return {};
            }};
  }
  NotesAccess notes() {
    return {.read = [this]() -> Result<NodeNotes> {
              if (no_nf_tables_) return fail(Errc::kUnsupported, "no nf_tables");
              return notes_;
            },
            .write = [this](const NodeNotes& notes) -> Result<> {
              if (no_nf_tables_) return fail(Errc::kUnsupported, "no nf_tables");
              notes_ = notes;
              return {};
            }};
  }
  SysctlJournal journal() { return SysctlJournal(folder_, sysctls(), notes()); }

  std::string folder_;
  std::map<std::string, std::string> values_{{"a", "0"}, {"b", "1"}, {"rounded", "8"}};
  NodeNotes notes_;
  bool read_only_ = false;
  bool no_nf_tables_ = false;
  bool recorded_before_write_ = true;
};

TEST_F(JournalTest, OnlyWhatDiffersIsWrittenAndAllOfThatIsRestored) {
  const auto applied = journal().apply("ipvs", {{"a", "1"}, {"b", "1"}});
  EXPECT_THAT(applied.changed, ElementsAre(SysctlSetting{"a", "1"}));
  EXPECT_THAT(applied.problems, IsEmpty());
  EXPECT_TRUE(recorded_before_write_);
  EXPECT_THAT(journal().changed_by("ipvs"), ElementsAre(SysctlSetting{"a", "1"}));
  const auto restored = journal().restore("ipvs");
  EXPECT_THAT(restored.changed, ElementsAre(SysctlSetting{"a", "0"}));
  EXPECT_EQ(values_["a"], "0");
  EXPECT_EQ(values_["b"], "1");
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(JournalTest, EitherCopyIsEnough) {
  for (const char* lost : {"the folder", "the notes", "nf_tables"}) {
    SCOPED_TRACE(lost);
    no_nf_tables_ = std::string(lost) == "nf_tables";
    (void)journal().apply("ipvs", {{"a", "1"}});
    if (std::string(lost) == "the folder") std::filesystem::remove_all(folder_);
    if (std::string(lost) == "the notes") notes_.clear();
    EXPECT_THAT(journal().restore("ipvs").changed, ElementsAre(SysctlSetting{"a", "0"}));
    EXPECT_THAT(journal().entries(), IsEmpty());
    EXPECT_EQ(values_["a"], "0");
  }
}

TEST_F(JournalTest, ALostCopyIsWrittenAgainByTheNextProcess) {
  (void)journal().apply("ipvs", {{"a", "1"}});
  std::filesystem::remove_all(folder_);
  EXPECT_THAT(journal().apply("ipvs", {{"a", "1"}}).problems, IsEmpty());
  notes_.clear();
  EXPECT_THAT(journal().restore("ipvs").changed, ElementsAre(SysctlSetting{"a", "0"}));
}

TEST_F(JournalTest, ASettingIsRestoredWithItsLastOwner) {
  (void)journal().apply("ipvs", {{"a", "1"}});
  (void)journal().apply("nftables", {{"a", "1"}});
  EXPECT_THAT(journal().changed_by("ipvs"), IsEmpty());
  EXPECT_THAT(journal().restore("ipvs").changed, IsEmpty());
  EXPECT_EQ(values_["a"], "1");
  EXPECT_THAT(journal().restore("ipvs").changed, IsEmpty());
  EXPECT_THAT(journal().restore("nftables").changed, ElementsAre(SysctlSetting{"a", "0"}));
}

TEST_F(JournalTest, TheOldestValueIsKeptOverRestarts) {
  (void)journal().apply("ipvs", {{"a", "1"}});
  values_["a"] = "5";
  (void)journal().apply("ipvs", {{"a", "1"}});
  (void)journal().restore("ipvs");
  EXPECT_EQ(values_["a"], "0");
}

TEST_F(JournalTest, WhatAnotherProcessChangedSinceIsLeft) {
  (void)journal().apply("ipvs", {{"a", "1"}});
  values_["a"] = "7";
  EXPECT_THAT(journal().restore("ipvs").changed, IsEmpty());
  EXPECT_EQ(values_["a"], "7");
  values_["a"] = "1";
  EXPECT_THAT(journal().restore("ipvs").changed, IsEmpty()) << "the record is gone";
}

TEST_F(JournalTest, WhatWasFoundIsLeft) {
  ASSERT_TRUE(journal().note_found("iptables", {"b", "1"}));
  EXPECT_THAT(journal().entries(), ElementsAre(Pair("b", SysctlJournal::Entry{"1", "1", {"iptables"}})));
  EXPECT_THAT(journal().changed_by("iptables"), IsEmpty());
  EXPECT_THAT(journal().restore("iptables").changed, IsEmpty());
  EXPECT_EQ(values_["b"], "1");
  EXPECT_THAT(journal().entries(), IsEmpty());
}

TEST_F(JournalTest, AValueThatTheKernelRoundsIsStillOurs) {
  (void)journal().apply("conntrack", {{"rounded", "1000"}});
  EXPECT_THAT(journal().restore("conntrack").changed, ElementsAre(SysctlSetting{"rounded", "8"}));
}

TEST_F(JournalTest, AMissingOrReadOnlySettingIsAProblemAndTheOthersAreSet) {
  const auto applied = journal().apply("ipvs", {{"absent", "1"}, {"a", "1"}});
  ASSERT_EQ(applied.problems.size(), 1u);
  EXPECT_THAT(applied.problems[0].what, HasSubstr("absent"));
  EXPECT_EQ(values_["a"], "1");
  read_only_ = true;
  EXPECT_EQ(journal().restore("ipvs").problems.size(), 1u);
  read_only_ = false;
  EXPECT_THAT(journal().restore("ipvs").changed, ElementsAre(SysctlSetting{"a", "0"}))
      << "what could not be put back stays on record";
}

TEST_F(JournalTest, WhatCouldNotBeChangedIsNotRecorded) {
  read_only_ = true;
  EXPECT_EQ(journal().apply("conntrack", {{"a", "1"}}).problems.size(), 1u);
  EXPECT_THAT(journal().entries(), IsEmpty()) << "or another's 1 would be taken for ours";
}

TEST_F(JournalTest, AFailureToRecordIsReportedAndTheSettingIsChangedNevertheless) {
  std::filesystem::remove_all(folder_);
  folder_ = "/proc/no-such-folder";
  no_nf_tables_ = true;
  EXPECT_FALSE(journal().apply("ipvs", {{"a", "1"}}).problems.empty());
  EXPECT_EQ(values_["a"], "1");
}

}  // namespace
}  // namespace sluice::sys
