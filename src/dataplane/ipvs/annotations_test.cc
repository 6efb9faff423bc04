// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/annotations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

namespace sluice::dataplane::ipvs {
namespace {

using testing::HasSubstr;

TEST(SchedulerText, NamesAndFlagsAreIpvsadms) {
  struct Row {
    const char* text;
    std::optional<Scheduler> scheduler;
  };
  const Row rows[] = {
      {"wlc", Scheduler{"wlc", 0}},
      {" sh ", Scheduler{"sh", 0}},
      {"mh", Scheduler{"mh", 0}},
      {"mh,mh-port", Scheduler{"mh", 0x10}},
      {"mh, mh-fallback , mh-port", Scheduler{"mh", 0x18}},
      {"sh,sh-fallback,sh-port", Scheduler{"sh", 0x18}},
      {"rr,flag-3", Scheduler{"rr", 0x20}},
      {"twos", Scheduler{"twos", 0}},
      {"", std::nullopt},
      {"none", std::nullopt},
      {"rr,mh-port", std::nullopt},
      {"mh,mh-ports", std::nullopt},
      {"mh,,mh-port", std::nullopt},
      {"WLC", std::nullopt},
      {"../../x", std::nullopt},
      {"sixteenletters00", std::nullopt},
  };
  for (const Row& row : rows) {
    const auto parsed = parse_scheduler(row.text);
    ASSERT_EQ(static_cast<bool>(parsed), row.scheduler.has_value()) << row.text;
    if (parsed) {
      EXPECT_EQ(*parsed, *row.scheduler) << row.text;
    }
  }
}

TEST(SchedulerText, ARefusalNamesTheWord) {
  EXPECT_THAT(parse_scheduler("rr,mh-port").error().what, HasSubstr("'mh-port' is a flag of scheduler mh, not of rr"));
  EXPECT_THAT(parse_scheduler("no such").error().what, HasSubstr("'no such'"));
}

TEST(SchedulerText, TheDefaultIsRrAndMhOfTheConfigurationUsesPorts) {
  EXPECT_EQ(*parse_default_scheduler(""), (Scheduler{"rr", 0}));
  EXPECT_EQ(*parse_default_scheduler("mh"), (Scheduler{"mh", 0x10}));
  EXPECT_EQ(*parse_default_scheduler("mh,mh-fallback"), (Scheduler{"mh", 0x8}));
  EXPECT_EQ(*parse_default_scheduler("lc"), (Scheduler{"lc", 0}));
  EXPECT_FALSE(parse_default_scheduler("a scheduler"));
}

TEST(DrainTimeoutText, GoDurationsUpToAYear) {
  struct Row {
    const char* text;
    std::optional<std::int64_t> milliseconds;
  };
  const Row rows[] = {
      {"0", 0},
      {"0s", 0},
      {"30s", 30'000},
      {"5m", 300'000},
      {"1m30s", 90'000},
      {"1.5h", 5'400'000},
      {"250ms", 250},
      {"8760h", 31'536'000'000},
      {"8761h", std::nullopt},
      {"", std::nullopt},
      {"30", std::nullopt},
      {"-5s", std::nullopt},
      {"5 m", std::nullopt},
      {"s", std::nullopt},
      {"nan", std::nullopt},
      {"infs", std::nullopt},
      {"1e3s", std::nullopt},
      {"9999999999999999999999h", std::nullopt},
  };
  for (const Row& row : rows) {
    const auto parsed = parse_drain_timeout(row.text);
    ASSERT_EQ(static_cast<bool>(parsed), row.milliseconds.has_value()) << row.text;
    if (parsed) {
      EXPECT_EQ(parsed->count(), *row.milliseconds) << row.text;
    }
  }
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
