// SPDX-License-Identifier: Apache-2.0
#include "view/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::view {
namespace {

using testing::HasSubstr;

TEST(Request, TheForm) {
  EXPECT_EQ(encode(Request{"/status", {}}), "sluice/1 /status");
  EXPECT_EQ(encode(Request{"/status", {{"form", "wide"}, {"port", "a b"}}}), "sluice/1 /status?form=wide&port=a%20b");
}

TEST(Request, EveryRequestArrivesUnchanged) {
  std::string every_byte;
  for (int c = 0; c < 256; ++c) every_byte += static_cast<char>(c);
  for (const Request& request :
       {Request{"/", {}}, Request{"/a/b", {{"x", ""}, {"y", every_byte}}}, Request{"/%?&=", {{"&=", "=&"}}}}) {
    const std::string line = encode(request);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const auto decoded = decode_request(line);
    ASSERT_TRUE(decoded) << decoded.error().what;
    EXPECT_EQ(*decoded, request);
  }
}

TEST(Request, WhatCannotBeReadIsRefused) {
  for (const char* line : {"sluice/1", "sluice/1 ", "sluice/1 status", "sluice/1 /a?x=%", "sluice/1 /a?x=%2",
                           "sluice/1 /a?x=%zz", "sluice/1 /a?x=1&x=2", "sluice/1 /%+1"}) {
    const auto decoded = decode_request(line);
    ASSERT_FALSE(decoded) << line;
    EXPECT_EQ(decoded.error().code, Errc::kInvalid) << line;
  }
}

TEST(Request, AnotherProtocolIsNamedAsSuch) {
  for (const char* line : {"", "status json", "sluice/2 /status", "sluice/11 /status"}) {
    const auto decoded = decode_request(line);
    ASSERT_FALSE(decoded) << line;
    EXPECT_EQ(decoded.error().code, Errc::kUnsupported) << line;
    EXPECT_THAT(decoded.error().what, HasSubstr("version " SLUICE_VERSION " and speaks sluice/1"));
  }
}

TEST(Response, EveryResponseArrivesUnchanged) {
  EXPECT_EQ(encode(Response{false, 1, "body\n"}), "sluice/1 ok 1 " SLUICE_VERSION "\nbody\n");
  for (const Response& response : {Response{false, 0, ""}, Response{false, 9, "a\nb\n\n"}, Response{true, 2, "no\n"}}) {
    const auto decoded = decode_response(encode(response));
    ASSERT_TRUE(decoded) << decoded.error().what;
    EXPECT_EQ(*decoded, response);
  }
}

TEST(Response, AnotherVersionsResponseIsNamedAsSuch) {
  const auto newer = decode_response("sluice/2 fine 0.9.0 0.9.0\nbody");
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code, Errc::kUnsupported);
  EXPECT_THAT(newer.error().what, HasSubstr("does not speak sluice/1"));
  const auto older = decode_response("0\nSluice 0.1.0, mode iptables\n");
  ASSERT_FALSE(older);
  EXPECT_THAT(older.error().what, HasSubstr("restart the proxy"));
}

TEST(Response, ATruncatedResponseIsAnError) {
  for (const char* text : {"sluice/1", "sluice/1 ok", "sluice/1 ok 10 x\n", "sluice/1 maybe 0 x\n"}) {
    const auto decoded = decode_response(text);
    ASSERT_FALSE(decoded) << text;
    EXPECT_EQ(decoded.error().code, Errc::kInvalid) << text;
  }
}

}  // namespace
}  // namespace sluice::view
