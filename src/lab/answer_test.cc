// SPDX-License-Identifier: Apache-2.0
#include "lab/answer.h"

#include <gtest/gtest.h>

#include "base/ip_literals.h"

namespace sluice::lab {
namespace {

TEST(Answer, TextAndValueAgreeInBothFamilies) {
  const struct {
    const char* text;
    Answer answer;
  } rows[] = {
      {"web-1 192.168.231.200:41812 -> 10.244.169.161:80",
       {"web-1", {ip("192.168.231.200"), 41812}, {ip("10.244.169.161"), 80}}},
      {"dns [fd00:231::200]:1 -> [fd00:10:244::1]:53", {"dns", {ip("fd00:231::200"), 1}, {ip("fd00:10:244::1"), 53}}},
  };
  for (const auto& row : rows) {
    EXPECT_EQ(format_answer(row.answer), row.text);
    EXPECT_EQ(parse_answer(row.text), row.answer) << row.text;
  }
}

TEST(Answer, OtherTextIsNotAnAnswer) {
  for (const char* text :
       {"", " ", "web-1", "web-1 1.2.3.4:5", "web-1 1.2.3.4:5 -> ", "web-1 1.2.3.4:5 -> 1.2.3.4", "web-1 -> 1.2.3.4:5",
        " 1.2.3.4:5 -> 1.2.3.4:5", "web-1 1.2.3:5 -> 1.2.3.4:5", "web-1 1.2.3.4:99999 -> 1.2.3.4:5",
        "web-1 1.2.3.4:5 -> 1.2.3.4:5x", "web-1 :5 -> 1.2.3.4:5", "HTTP/1.1 400 Bad Request"}) {
    EXPECT_FALSE(parse_answer(text)) << text;
  }
}

}  // namespace
}  // namespace sluice::lab
