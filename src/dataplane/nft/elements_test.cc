// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/elements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <cstring>

#include "base/ip_literals.h"
#include "dataplane/nft/keys.h"
#include "dataplane/nft/source_ranges.h"

namespace sluice::dataplane::nft {
namespace {

using sys::NftElement;
using sys::NftSet;
using sys::NftVerdict;
using testing::ElementsAre;
using enum sys::NftField;

const NftSet kServed{"served", {kIPv4Address, kInetProtocol, kInetService}};
const NftSet kRanges{"ranges", {kIPv4Address, kInetProtocol, kInetService, kIPv4Address}, true};
const NftSet kServices{.name = "services", .key = {kIPv4Address, kInetProtocol, kInetService}, .verdicts = true};
const NftSet kEndpoints{.name = "endpoints", .key = {kIPv6Address, kMark}, .value = {kIPv6Address, kInetService}};

Bytes joined(Bytes first, const Bytes& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

Bytes number(std::uint32_t value) {
  Bytes bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

TEST(ElementText, IsWhatNftPrints) {
  const ServedAddress dns{ip("10.96.0.10"), Protocol::kUdp, 53};
  const auto with = [&dns](std::uint32_t code, const char* chain) {
    return NftElement{encode(dns), {}, {}, NftVerdict{code, chain}};
  };
  struct Row {
    const NftSet& set;
    NftElement element;
    const char* text;
  };
  for (const Row& row : {
           Row{kServed, {encode(dns), {}}, "10.96.0.10 . udp . 53"},
           Row{kServed, {{10, 0, 0, 1, 99, 0, 0, 0, 0, 1, 0, 0}, {}}, "10.0.0.1 . 99 . 1"},
           Row{kServed, {{10, 0}, {}}, ""},
           Row{kRanges, encode(SourceRange{dns, cidr("10.0.0.0/8")}),
               "10.96.0.10 . udp . 53 . 10.0.0.0-10.255.255.255"},
           Row{kServices, with(static_cast<std::uint32_t>(NFT_GOTO), "of-two"), "10.96.0.10 . udp . 53 : goto of-two"},
           Row{kServices, with(static_cast<std::uint32_t>(NFT_JUMP), "a"), "10.96.0.10 . udp . 53 : jump a"},
           Row{kServices, with(NF_DROP, ""), "10.96.0.10 . udp . 53 : drop"},
           Row{kServices, with(NF_ACCEPT, ""), "10.96.0.10 . udp . 53 : accept"},
           Row{kEndpoints,
               {joined(encode(ip("fd00::9")), number(2)), {}, joined(encode(ip("fd00:1::7")), {0x1f, 0x90, 0, 0})},
               "fd00::9 . 0x00000002 : fd00:1::7 . 8080"},
       }) {
    EXPECT_EQ(element_text(row.set, row.element), row.text);
  }
}

TEST(Subtract, KeepsTheOrder) {
  const NftElement a{{1}, {}};
  const NftElement b{{2}, {}};
  const NftElement c{{3}, {}};
  EXPECT_THAT(subtract({a, b, c}, {b}), ElementsAre(a, c));
  EXPECT_THAT(subtract({a}, {a, b}), ElementsAre());
}

TEST(Subtract, AnotherValueIsAnotherElement) {
  const NftElement before{{1}, {}, {7}};
  const NftElement after{{1}, {}, {8}};
  EXPECT_THAT(subtract({after}, {before}), ElementsAre(after));
}

TEST(ElementChanges, CountWhatIsWritten) {
  const ElementChanges changes{{{"a", {{{1}, {}}, {{2}, {}}}}}, {{"b", {{{1}, {}}}}}};
  EXPECT_EQ(changes.size(), 3U);
  EXPECT_EQ(elements_of(changes.add, "a").size(), 2U);
  EXPECT_TRUE(elements_of(changes.add, "none").empty());
}

}  // namespace
}  // namespace sluice::dataplane::nft
