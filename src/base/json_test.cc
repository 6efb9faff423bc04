// SPDX-License-Identifier: Apache-2.0
#include "base/json.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(JsonString, EscapesWhatJsonDoesNotAllow) {
  EXPECT_EQ(json_string(""), R"("")");
  EXPECT_EQ(json_string("a \"b\" \\ c"), R"("a \"b\" \\ c")");
  EXPECT_EQ(json_string("\n\r\t\x01\x1f"), R"("\n\r\t\u0001\u001f")");
  EXPECT_EQ(json_string("z\u00fc\u20ac"), "\"z\u00fc\u20ac\"");
  EXPECT_EQ(json_string(std::string_view("\0", 1)), R"("\u0000")");
}

TEST(JsonString, IsUtf8WhateverTheTextIs) {
  EXPECT_EQ(json_string("a\xff\xc3"), R"("a\ufffd\ufffd")");
  EXPECT_EQ(json_string("\xed\xa0\x80"), R"("\ufffd\ufffd\ufffd")") << "a surrogate is no character";
}

TEST(JsonString, EscapesTerminalControls) {
  EXPECT_EQ(json_string("\x7f\u009b\u2028\u202e"), R"("\u007f\u009b\u2028\u202e")");
}

}  // namespace
}  // namespace sluice
