// SPDX-License-Identifier: Apache-2.0
// Whatever a value contains, a log line is one line, and in its JSON form it is JSON: checked with the parser that
// reads the API server's objects. It is here because this room has that parser.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "base/log.h"

namespace sluice::kube {
namespace {

// Troublesome pieces, mixed with random bytes.
const std::vector<std::string> kPieces = {
    "\"",   "\\",   "\n",           "\r\n",         "\x1b]0;title\x07", std::string(1, '\0'),
    "\xc3", "\xff", "\xed\xa0\x80", "\xed\xb0\x80", "\xe2\x80\xa8",     "\xc2\x9b",
    "}",    "\\u",  "\xf0\x9f\x98", "z\u00fc",      "\\ud800",          "\xf4\x90\x80\x80"};

std::vector<std::string> odd_values() {
  std::minstd_rand random(20261130);
  std::vector<std::string> values = kPieces;
  for (int i = 0; i < 2000; ++i) {
    std::string value;
    const auto parts = random() % 40;
    for (std::size_t part = 0; part < parts; ++part) {
      if (random() % 3 == 0) {
        value += kPieces[random() % kPieces.size()];
      } else {
        value += static_cast<char>(random() % 256);
      }
    }
    values.push_back(std::move(value));
  }
  // Cut within a character, and within an escape.
  for (std::size_t i = 8180; i < 8200; ++i)
    values.push_back(std::string(i, 'x') + "\xf0\x9f\x98\x80\xff\n" + std::string(9000, '\xff'));
  return values;
}

// One message for each value; the lines that came out.
std::vector<std::string> lines_of(log::Format format, const std::vector<std::string>& values) {
  log::configure({.format = format, .verbosity = 0});
  testing::internal::CaptureStderr();
  for (const std::string& value : values) SLUICE_LOG_ERROR(value, {"err", value}, {"last", 1});
  std::istringstream all(testing::internal::GetCapturedStderr());
  log::configure({});
  std::vector<std::string> lines;
  for (std::string line; std::getline(all, line);) lines.push_back(std::move(line));
  return lines;
}

TEST(LogLines, AreOneForEachMessageOfPrintableUtf8) {
  const std::vector<std::string> values = odd_values();
  for (const log::Format format : {log::Format::kText, log::Format::kJson}) {
    const std::vector<std::string> lines = lines_of(format, values);
    ASSERT_EQ(lines.size(), values.size());
    for (const std::string& line : lines) {
      ASSERT_TRUE(simdjson::validate_utf8(line)) << line;
      for (const char c : line) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) << line;
      ASSERT_EQ(line.find("\xc2\x9b"), std::string::npos) << "a terminal's control sequence introducer: " << line;
      ASSERT_EQ(line.find("\xe2\x80\xa8"), std::string::npos) << "a line separator: " << line;
    }
  }
}

TEST(LogLines, OfTheJsonFormAreObjectsThatHoldTheValue) {
  const std::vector<std::string> values = odd_values();
  const std::vector<std::string> lines = lines_of(log::Format::kJson, values);
  ASSERT_EQ(lines.size(), values.size());
  simdjson::dom::parser parser;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    simdjson::dom::element root;
    ASSERT_EQ(parser.parse(lines[i]).get(root), simdjson::SUCCESS) << lines[i];
    std::string_view err;
    std::string_view last;
    ASSERT_EQ(root["err"].get(err), simdjson::SUCCESS) << lines[i];
    ASSERT_EQ(root["last"].get(last), simdjson::SUCCESS) << lines[i];
    EXPECT_EQ(last, "1");
    if (values[i].size() < 8000 && simdjson::validate_utf8(values[i])) {
      EXPECT_EQ(err, values[i]);
    }
  }
}

}  // namespace
}  // namespace sluice::kube
