// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/source_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/ip_literals.h"

namespace sluice::dataplane::nft {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

TEST(EncodeSourceRange, EndsWithTheLastAddressOfTheRange) {
  struct Row {
    const char* range;
    const char* last;
  };
  for (const Row& row :
       {Row{"10.0.0.0/8", "10.255.255.255"}, Row{"0.0.0.0/0", "255.255.255.255"}, Row{"192.0.2.1/32", "192.0.2.1"},
        Row{"192.0.2.128/25", "192.0.2.255"}, Row{"10.0.0.0/15", "10.1.255.255"},
        Row{"2001:db8::/47", "2001:db8:1:ffff:ffff:ffff:ffff:ffff"},
        Row{"::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}}) {
    SCOPED_TRACE(row.range);
    const IpAddress to = cidr(row.range).family() == Family::kIPv4 ? ip("203.0.113.7") : ip("2001:db8::7");
    const auto element = encode(SourceRange{{to, Protocol::kTcp, 443}, cidr(row.range)});
    const IpAddress last = ip(row.last);
    const auto wanted = last.bytes();
    ASSERT_EQ(element.key_end.size(), element.key.size());
    EXPECT_TRUE(
        std::equal(wanted.begin(), wanted.end(), element.key_end.end() - static_cast<std::ptrdiff_t>(wanted.size())));
  }
}

TEST(Widest, LeavesOutWhatIsInAnotherRange) {
  EXPECT_THAT(
      widest({cidr("10.0.0.0/8"), cidr("10.1.0.0/16"), cidr("10.1.2.3/32"), cidr("11.0.0.0/8"), cidr("192.0.2.0/24")}),
      UnorderedElementsAre(cidr("10.0.0.0/8"), cidr("11.0.0.0/8"), cidr("192.0.2.0/24")));
  EXPECT_THAT(widest({cidr("10.0.0.0/9"), cidr("10.128.0.0/9")}),
              UnorderedElementsAre(cidr("10.0.0.0/9"), cidr("10.128.0.0/9")));
  EXPECT_THAT(widest({cidr("0.0.0.0/0"), cidr("10.0.0.0/8")}), ElementsAre(cidr("0.0.0.0/0")));
  EXPECT_TRUE(widest({}).empty());
}

const ServedAddress kBalancer{ip("203.0.113.7"), Protocol::kTcp, 443};
const ServedAddress kOther{ip("203.0.113.8"), Protocol::kTcp, 443};

SourceRange from(const char* range, const ServedAddress& to = kBalancer) {
  return {to, cidr(range)};
}

TEST(SourceRanges, BringBackWhatWasInARemovedRange) {
  SourceRanges ranges;
  ranges.assign({from("10.0.0.0/8"), from("10.1.0.0/16"), from("192.0.2.0/24"), from("10.2.0.0/16", kOther)});
  SourceRanges::Change narrower = ranges.change({}, {from("10.0.0.0/8")});
  EXPECT_THAT(narrower.remove, ElementsAre(encode(from("10.0.0.0/8"))));
  EXPECT_THAT(narrower.add, ElementsAre(encode(from("10.1.0.0/16"))));
  ranges.written(std::move(narrower));
  const SourceRanges::Change wider = ranges.change({from("10.0.0.0/8")}, {});
  EXPECT_THAT(wider.remove, ElementsAre(encode(from("10.1.0.0/16"))));
  EXPECT_THAT(wider.add, ElementsAre(encode(from("10.0.0.0/8"))));
}

TEST(SourceRanges, AChangeThatWasNotWrittenIsForgotten) {
  SourceRanges ranges;
  ranges.assign({from("10.0.0.0/8")});
  EXPECT_THAT(ranges.change({}, {from("10.0.0.0/8")}).remove, ElementsAre(encode(from("10.0.0.0/8"))));
  EXPECT_THAT(ranges.change({}, {from("10.0.0.0/8")}).remove, ElementsAre(encode(from("10.0.0.0/8"))));
}

TEST(SourceRanges, ARangeInsideAnotherWritesNothing) {
  SourceRanges ranges;
  ranges.assign({from("10.0.0.0/8")});
  const SourceRanges::Change change = ranges.change({from("10.1.0.0/16")}, {});
  EXPECT_THAT(change.add, IsEmpty());
  EXPECT_THAT(change.remove, IsEmpty());
}

TEST(SourceRanges, EncodeAllIsSortedAndWithoutInnerRanges) {
  const Elements elements = SourceRanges::encode_all(
      {from("10.1.0.0/16"), from("10.0.0.0/8"), from("9.0.0.0/8"), from("10.1.0.0/16", kOther)});
  EXPECT_TRUE(std::ranges::is_sorted(elements));
  EXPECT_THAT(elements, UnorderedElementsAre(encode(from("10.0.0.0/8")), encode(from("9.0.0.0/8")),
                                             encode(from("10.1.0.0/16", kOther))));
}

}  // namespace
}  // namespace sluice::dataplane::nft
