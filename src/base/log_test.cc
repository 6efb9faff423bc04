// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

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

TEST(Log, TextQuotesAsGoDoes) {
  testing::internal::CaptureStderr();
  SLUICE_LOG_INFO("m", {"a", "tab\t nl\n \\ \x1b[31m \x7f"}, {"b", "z\u00fc \u009b \u202e \xff"});
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::EndsWith("\"m\" a=\"tab\\t nl\\n \\\\ \\x1b[31m \\x7f\" b=\"z\u00fc \\u009b \\u202e \\xff\"\n"));
}

TEST(Log, OfALongValueTheBeginningIsWritten) {
  for (const Format format : {Format::kText, Format::kJson}) {
    configure({.format = format, .verbosity = 0});
    testing::internal::CaptureStderr();
    SLUICE_LOG_INFO("m", {"a", std::string(100'000, 'x') + "end"}, {"b", "after"});
    const std::string line = testing::internal::GetCapturedStderr();
    configure({});
    EXPECT_LT(line.size(), 9'000U);
    EXPECT_THAT(line, testing::HasSubstr("x... (91811 bytes more)\""));
    EXPECT_THAT(line, testing::HasSubstr("after"));
  }
}

// A slow reader, and lines that a pipe accepts in pieces.
TEST(Log, LinesOfSeveralThreadsDoNotMix) {
  constexpr int kThreads = 4;
  constexpr int kLines = 50;
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  ASSERT_EQ(::fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(ends[1], STDERR_FILENO);
  std::string all;
  std::thread reader([&] {
    std::array<char, 1000> piece{};
    for (ssize_t n = 0; (n = ::read(ends[0], piece.data(), piece.size())) > 0;)
      all.append(piece.data(), static_cast<std::size_t>(n));
  });
  std::vector<std::thread> writers;
  for (int thread = 0; thread < kThreads; ++thread) {
    writers.emplace_back([thread] {
      for (int i = 0; i < kLines; ++i) SLUICE_LOG_INFO("m", {"a", std::string(7'000, static_cast<char>('a' + thread))});
    });
  }
  for (std::thread& writer : writers) writer.join();
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  std::istringstream lines(all);
  int whole = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find("a=\"");
    ASSERT_NE(at, std::string::npos) << line;
    const char letter = line[at + 3];
    EXPECT_EQ(line.substr(at + 3), std::string(7'000, letter) + "\"");
    ++whole;
  }
  EXPECT_EQ(whole, kThreads * kLines);
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
