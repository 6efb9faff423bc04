// SPDX-License-Identifier: Apache-2.0
// On the controller itself (family nlctrl), which every kernel has.
#include "sys/genetlink.h"

#include <gtest/gtest.h>
#include <linux/genetlink.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace sluice::sys {
namespace {

using Bytes = std::vector<std::uint8_t>;

GenericRequest ask_for_family(const std::string& name) {
  AttributeWriter out;
  out.put_text(CTRL_ATTR_FAMILY_NAME, name);
  return {CTRL_CMD_GETFAMILY, std::move(out).take()};
}

std::string family_name(std::span<const std::uint8_t> attributes) {
  std::string name;
  for_each_attribute(attributes, [&](const Attribute& attribute) {
    if (attribute.type == CTRL_ATTR_FAMILY_NAME) name.assign(attribute.value.begin(), attribute.value.end() - 1);
  });
  return name;
}

TEST(AttributeWriter, PadsValuesAndCountsNestsInFull) {
  AttributeWriter out;
  const std::size_t nest = out.begin_nest(1);
  out.put_u8(2, 7);
  out.put_text(3, "rr");
  out.end_nest(nest);
  out.put_u32(4, 0x01020304);
  const Bytes wanted{20, 0, 1, 0, 5, 0, 2, 0, 7, 0, 0, 0, 7, 0, 3, 0, 'r', 'r', 0, 0, 8, 0, 4, 0, 4, 3, 2, 1};
  EXPECT_EQ(std::move(out).take(), wanted);
}

TEST(ForEachAttribute, StopsAtWhatDoesNotFitAndReadsNothingAfterTheEnd) {
  struct Row {
    const char* name;
    Bytes bytes;
    std::vector<std::pair<std::uint16_t, std::size_t>> wanted;  // types and lengths
  };
  const std::vector<Row> rows{
      {"nothing", {}, {}},
      {"half a header", {8, 0, 1}, {}},
      {"two", {5, 0, 1, 0, 9, 0, 0, 0, 4, 0, 2, 0}, {{1, 1}, {2, 0}}},
      {"the last one lacks its padding", {5, 0, 1, 0, 9}, {{1, 1}}},
      {"longer than the rest", {4, 0, 1, 0, 9, 0, 2, 0, 1}, {{1, 0}}},
      {"shorter than its own header", {3, 0, 1, 0, 4, 0, 2, 0}, {}},
      {"the flag of a nest is no part of the type", {4, 0, 1, 0x80}, {{1, 0}}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    std::vector<std::pair<std::uint16_t, std::size_t>> got;
    for_each_attribute(row.bytes,
                       [&](const Attribute& attribute) { got.emplace_back(attribute.type, attribute.value.size()); });
    EXPECT_EQ(got, row.wanted);
  }
}

TEST(GenericNetlink, AFamilyThatThisKernelLacksIsUnsupported) {
  const auto opened = GenericNetlink::open("sluice-none");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Errc::kUnsupported);
  EXPECT_EQ(opened.error().sys_errno, ENOENT);
  EXPECT_NE(opened.error().what.find("sluice-none"), std::string::npos);
}

TEST(GenericNetlink, AsksForOneAndDumpsAll) {
  auto netlink = GenericNetlink::open("nlctrl");
  ASSERT_TRUE(netlink) << netlink.error().what;
  std::vector<std::string> one;
  ASSERT_TRUE(
      netlink->ask(ask_for_family("nlctrl"), [&](std::span<const std::uint8_t> a) { one.push_back(family_name(a)); }));
  EXPECT_EQ(one, std::vector<std::string>{"nlctrl"});
  std::vector<std::string> all;
  ASSERT_TRUE(
      netlink->dump({CTRL_CMD_GETFAMILY, {}}, [&](std::span<const std::uint8_t> a) { all.push_back(family_name(a)); }));
  EXPECT_EQ(std::count(all.begin(), all.end(), "nlctrl"), 1);
}

TEST(GenericNetlink, ARefusalCarriesTheKernelsNumber) {
  auto netlink = GenericNetlink::open("nlctrl");
  ASSERT_TRUE(netlink) << netlink.error().what;
  const auto asked =
      netlink->ask(ask_for_family("sluice-none"), [](std::span<const std::uint8_t>) { FAIL() << "a reply"; });
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().code, Errc::kUnsupported);
  EXPECT_EQ(asked.error().sys_errno, ENOENT);
}

// 300 requests are three datagrams; every second one is refused for another reason.
TEST(GenericNetlink, ATransactionTriesAllAndNamesTheOutcomeOfEach) {
  auto netlink = GenericNetlink::open("nlctrl");
  ASSERT_TRUE(netlink) << netlink.error().what;
  std::vector<GenericRequest> requests;
  for (int i = 0; i < 150; ++i) {
    requests.push_back(ask_for_family("sluice-none"));
    requests.push_back({CTRL_CMD_GETFAMILY, {}});
  }
  requests.push_back(ask_for_family("nlctrl"));
  const auto outcomes = netlink->transact(requests);
  ASSERT_TRUE(outcomes) << outcomes.error().what;
  ASSERT_EQ(outcomes->size(), 301U);
  for (std::size_t i = 0; i < 300; ++i) EXPECT_EQ((*outcomes)[i], i % 2 == 0 ? ENOENT : EINVAL) << i;
  EXPECT_EQ(outcomes->back(), 0);
}

TEST(GenericNetlink, ATransactionOfNothingIsDone) {
  auto netlink = GenericNetlink::open("nlctrl");
  ASSERT_TRUE(netlink) << netlink.error().what;
  const auto outcomes = netlink->transact({});
  ASSERT_TRUE(outcomes);
  EXPECT_TRUE(outcomes->empty());
}

}  // namespace
}  // namespace sluice::sys
