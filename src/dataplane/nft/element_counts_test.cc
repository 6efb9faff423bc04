// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/element_counts.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "dataplane/nft/keys.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nft {
namespace {

using Ports = std::vector<NodePort>;

const NodePort kHttp{Protocol::kTcp, 30080};
const NodePort kDns{Protocol::kUdp, 30053};
const NodePort kDnsOverTcp{Protocol::kTcp, 30053};

TEST(ElementCounts, AnElementComesWithTheFirstAndGoesWithTheLast) {
  ElementCounts<NodePort> counts;
  EXPECT_EQ(counts.add(Ports{kHttp, kDns}), (Ports{kHttp, kDns}));
  EXPECT_EQ(counts.add(Ports{kDns, kDnsOverTcp}), Ports{kDnsOverTcp});
  EXPECT_EQ(counts.size(), 3U);
  EXPECT_EQ(counts.remove(Ports{kHttp, kDns}), Ports{kHttp});
  EXPECT_TRUE(counts.contains(kDns));
  EXPECT_FALSE(counts.contains(kHttp));
  EXPECT_EQ(counts.remove(Ports{kDns, kDnsOverTcp}), (Ports{kDns, kDnsOverTcp}));
  EXPECT_EQ(counts.size(), 0U);
  EXPECT_EQ(counts.add(Ports{kDns}), Ports{kDns}) << "it is new again";
}

TEST(ElementCounts, AReplacementThatAddsFirstTouchesNothingThatBothWant) {
  ElementCounts<NodePort> counts;
  (void)counts.add(std::set{kHttp, kDns});
  EXPECT_EQ(counts.add(std::set{kDns, kDnsOverTcp}), Ports{kDnsOverTcp});
  EXPECT_EQ(counts.remove(std::set{kHttp, kDns}), Ports{kHttp});
  EXPECT_EQ(counts.all(), (Ports{kDnsOverTcp, kDns})) << "sorted: TCP before UDP";
}

TEST(ElementCounts, WhatIsNotCountedIsPassedOver) {
  ElementCounts<NodePort> counts;
  EXPECT_EQ(counts.remove(Ports{kHttp}), Ports{});
  EXPECT_EQ(counts.add(Ports{kHttp}), Ports{kHttp}) << "and was not counted below nothing";
}

TEST(ElementCounts, ElementsOfAMapThatDifferInTheirValueAreTwo) {
  const sys::NftElement one{.key = {1}, .key_end = {}, .value = {7}};
  const sys::NftElement other{.key = {1}, .key_end = {}, .value = {8}};
  ElementCounts<sys::NftElement> counts;
  (void)counts.add(std::vector{one});
  EXPECT_EQ(counts.add(std::vector{other}), std::vector{other});
  EXPECT_EQ(counts.remove(std::vector{one}), std::vector{one});
  EXPECT_EQ(counts.all(), std::vector{other});
}

}  // namespace
}  // namespace sluice::dataplane::nft
