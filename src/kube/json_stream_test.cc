// SPDX-License-Identifier: Apache-2.0
#include "kube/json_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace sluice::kube {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Kind = JsonSplitter::Kind;

struct Cut {
  std::vector<std::string> objects;
  std::vector<std::size_t> lines;
  Result<std::string> rest = std::string();  // of finish(), or the error of feed()
};

// Feeds `text` in chunks of `size` bytes.
Cut cut(Kind kind, std::string_view text, std::size_t size) {
  Cut result;
  JsonSplitter* pointer = nullptr;
  JsonSplitter splitter(kind, [&](std::string_view object) -> Result<> {
    result.objects.emplace_back(object);
    result.lines.push_back(pointer->object_line());
    return {};
  });
  pointer = &splitter;
  for (std::size_t at = 0; at < text.size(); at += size) {
    if (auto fed = splitter.feed(text.substr(at, size)); !fed) {
      result.rest = tl::unexpected(fed.error());
      return result;
    }
  }
  result.rest = splitter.finish();
  return result;
}

TEST(JsonSplitter, CutsAListWhereverTheChunksEnd) {
  const std::string text =
      "{\"kind\":\"ServiceList\",\"metadata\":{\"items\":[{\"no\":1}],\"resourceVersion\":\"7\"},\n"
      " \"items\" : [ {\"a\":\"}]{[\\\"\\\\\"},\n{\"b\":[1,{\"items\":[{}]}]} , {} ],\n \"z\":[{\"c\":2}]}\n";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    SCOPED_TRACE(size);
    const Cut result = cut(Kind::kListItems, text, size);
    EXPECT_THAT(result.objects, ElementsAre("{\"a\":\"}]{[\\\"\\\\\"}", "{\"b\":[1,{\"items\":[{}]}]}", "{}"));
    EXPECT_THAT(result.lines, ElementsAre(2, 3, 3));
    ASSERT_TRUE(result.rest) << result.rest.error().what;
    EXPECT_EQ(*result.rest,
              "{\"kind\":\"ServiceList\",\"metadata\":{\"items\":[{\"no\":1}],\"resourceVersion\":\"7\"},\n"
              " \"items\" : [],\n \"z\":[{\"c\":2}]}\n");
  }
}

TEST(JsonSplitter, CutsDocumentsWhereverTheChunksEnd) {
  const std::string text =
      "{\"type\":\"ADDED\",\"object\":{\"x\":\"\\u007d\"}}\n{\"items\":[{\"a\":1}]}{}\r\n\t{\"\\\\\":\"{\"}";
  for (std::size_t size = 1; size <= text.size(); ++size) {
    SCOPED_TRACE(size);
    const Cut result = cut(Kind::kDocuments, text, size);
    EXPECT_THAT(result.objects, ElementsAre("{\"type\":\"ADDED\",\"object\":{\"x\":\"\\u007d\"}}",
                                            "{\"items\":[{\"a\":1}]}", "{}", "{\"\\\\\":\"{\"}"));
    EXPECT_TRUE(result.rest);
  }
}

TEST(JsonSplitter, MembersMayComeInAnyOrderAndItemsMayBeMissing) {
  EXPECT_THAT(cut(Kind::kListItems, R"({"items":[{"a":1}],"kind":"L"})", 5).objects, ElementsAre("{\"a\":1}"));
  EXPECT_THAT(cut(Kind::kListItems, R"({"kind":"items","list":[{"a":1}]})", 5).objects, testing::IsEmpty());
  EXPECT_EQ(*cut(Kind::kListItems, R"({"kind":"L","items":null})", 5).rest, R"({"kind":"L","items":null})");
  EXPECT_EQ(*cut(Kind::kListItems, R"({"items":{"a":{}}})", 5).rest, R"({"items":{"a":{}}})");
}

TEST(JsonSplitter, ErrorsNameTheReason) {
  struct Row {
    const char* name;
    Kind kind;
    std::string text;
    const char* error;
  };
  const Row rows[] = {
      {"text", Kind::kDocuments, "hello", "unexpected character 0x68"},
      {"a string", Kind::kDocuments, "\"x\"", "unexpected character 0x22"},
      {"an array", Kind::kDocuments, "[{}]", "array"},
      {"one bracket too many", Kind::kDocuments, "{}}", "closing bracket"},
      {"two lists", Kind::kListItems, "{} {}", "more than one"},
      {"half a list", Kind::kListItems, "{\"items\":[{}", "middle of an object"},
      {"half a string", Kind::kDocuments, "{\"a", "middle of an object"},
      {"nothing", Kind::kListItems, " \n", "before an object began"},
      {"endless nesting", Kind::kDocuments, "{\"a\":" + std::string(2000, '['), "nested deeper than 1024 levels"},
      {"broken off before a name", Kind::kDocuments, "{\"a\":{{\"a\":1}\n", "'{' is not allowed here"},
      {"broken off before a value", Kind::kDocuments, "{\"a\":{\"b\":{\"a\":1}\n{\"a\":1}\n",
       "'{' is not allowed here"},
      {"broken off before a comma", Kind::kDocuments, "{\"a\":{\"b\":1{\"a\":1}\n", "'{' is not allowed here"},
      {"broken off within a name", Kind::kDocuments, "{\"a\":{\"b{\"a\":1}\n{\"a\":1}\n", "'\"' is not allowed here"},
      {"broken off within a text", Kind::kDocuments, "{\"a\":\"b\n{\"a\":1}\n", "a line ends within a string"},
      {"an endless object", Kind::kDocuments, "{\"a\":\"" + std::string(JsonSplitter::kObjectBytesMax, 'x') + "\"}",
       "larger than 16777216"},
      {"an endless list head", Kind::kListItems, "{\"a\":\"" + std::string(JsonSplitter::kObjectBytesMax, 'x') + "\"}",
       "larger than 16777216"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    for (const std::size_t size : {std::size_t{64 * 1024}, std::size_t{1}}) {
      if (size == 1 && row.text.size() > 4096) continue;
      const Cut result = cut(row.kind, row.text, size);
      ASSERT_FALSE(result.rest);
      EXPECT_THAT(result.rest.error().what, HasSubstr(row.error));
    }
  }
}

TEST(JsonSplitter, TheListMayBeLargerThanTheBoundOfAnObject) {
  const std::string item = "{\"a\":\"" + std::string(1'000'000, 'x') + "\"}";
  std::size_t count = 0;
  JsonSplitter splitter(Kind::kListItems, [&](std::string_view object) -> Result<> {
    if (object == item) ++count;
    return {};
  });
  ASSERT_TRUE(splitter.feed("{\"items\":["));
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(splitter.feed(i == 0 ? item : "," + item));
  ASSERT_TRUE(splitter.feed("]}"));
  EXPECT_TRUE(splitter.finish());
  EXPECT_EQ(count, 40U);
}

TEST(JsonSplitter, TheErrorOfTheReceiverIsPassedOn) {
  JsonSplitter splitter(Kind::kDocuments,
                        [](std::string_view) -> Result<> { return fail(Errc::kPermission, "not today"); });
  const auto fed = splitter.feed("{}");
  ASSERT_FALSE(fed);
  EXPECT_EQ(fed.error().code, Errc::kPermission);
}

}  // namespace
}  // namespace sluice::kube
