// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(Utf8, RunesFollowRfc3629) {
  struct Row {
    std::string_view text;
    char32_t value;
    std::size_t bytes;
    bool valid;
  };
  constexpr Row kRows[] = {
      {"a", 'a', 1, true},
      {std::string_view("\0x", 2), 0, 1, true},
      {"\xc3\xbc", 0xfc, 2, true},
      {"\xe2\x82\xac...", 0x20ac, 3, true},
      {"\xf0\x9f\x98\x80", 0x1f600, 4, true},
      {"\xf4\x8f\xbf\xbf", 0x10ffff, 4, true},
      {"\xef\xbf\xbd", 0xfffd, 3, true},
      {"\x80", 0x80, 1, false},
      {"\xff", 0xff, 1, false},
      {"\xc3", 0xc3, 1, false},
      {"\xc3(", 0xc3, 1, false},
      {"\xe2\x82", 0xe2, 1, false},
      {"\xe2\x82(", 0xe2, 1, false},
      {"\xc0\xaf", 0xc0, 1, false},
      {"\xc1\xbf", 0xc1, 1, false},
      {"\xe0\x80\xaf", 0xe0, 1, false},
      {"\xf0\x80\x80\xaf", 0xf0, 1, false},
      {"\xed\xa0\x80", 0xed, 1, false},
      {"\xf4\x90\x80\x80", 0xf4, 1, false},
      {"\xf8\x88\x80\x80\x80", 0xf8, 1, false},
  };
  for (const Row& row : kRows) {
    const Rune rune = first_rune(row.text);
    EXPECT_EQ(rune.value, row.value) << testing::PrintToString(row.text);
    EXPECT_EQ(rune.bytes, row.bytes) << testing::PrintToString(row.text);
    EXPECT_EQ(rune.valid, row.valid) << testing::PrintToString(row.text);
  }
}

TEST(Utf8, WhatATerminalInterpretsIsControl) {
  for (const char32_t rune : {0x00, 0x0a, 0x1b, 0x7f, 0x80, 0x85, 0x9b, 0x9f, 0x200e, 0x2028, 0x202e, 0x2066, 0xfeff})
    EXPECT_TRUE(is_control(rune)) << static_cast<unsigned>(rune);
  for (const char32_t rune : {0x20, 0x7e, 0xa0, 0xfc, 0x20ac, 0xfffd, 0x1f600})
    EXPECT_FALSE(is_control(rune)) << static_cast<unsigned>(rune);
}

TEST(Utf8, ATextIsNotCutWithinACharacter) {
  EXPECT_EQ(at_most("abc", 3), "abc");
  EXPECT_EQ(at_most("abc", 2), "ab");
  EXPECT_EQ(at_most("a\xe2\x82\xac", 3), "a");
  EXPECT_EQ(at_most("\x80\x80\x80", 2), "");
}

}  // namespace
}  // namespace sluice
