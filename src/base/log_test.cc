// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::log {
namespace {

TEST(Log, TextHasKlogsForm) {
  testing::internal::CaptureStderr();
  SLUICE_LOG_WARNING("Using \"it\"", {"ipFamily", "IPv4"}, {"count", 7});
  const std::string line = testing::internal::GetCapturedStderr();
  EXPECT_THAT(line, testing::MatchesRegex("W[0-9]{4} [0-9:]{8}\\.[0-9]{6} +[0-9]+ log_test\\.cc:[0-9]+\\] "
                                          "\"Using \\\\\"it\\\\\"\" ipFamily=\"IPv4\" count=\"7\"\n"));
}

TEST(Log, JsonIsOneObjectALine) {
  configure({.format = Format::kJson, .verbosity = 0});
  testing::internal::CaptureStderr();
  SLUICE_LOG_ERROR("Sync failed", {"err", "a\nb"});
  const std::string line = testing::internal::GetCapturedStderr();
  configure({});
  EXPECT_THAT(line, testing::EndsWith("\"level\":\"error\",\"msg\":\"Sync failed\",\"err\":\"a\\nb\"}\n"));
}

TEST(Log, VerbosityHidesAndShows) {
  testing::internal::CaptureStderr();
  SLUICE_LOG_V(2, "hidden");
  set_verbosity(2);
  SLUICE_LOG_V(2, "shown");
  set_verbosity(0);
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("hidden")));
  EXPECT_THAT(text, testing::HasSubstr("shown"));
}

}  // namespace
}  // namespace sluice::log
