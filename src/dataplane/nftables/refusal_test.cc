// SPDX-License-Identifier: Apache-2.0
// The data plane on a kernel that refuses, is in distress, or holds what is no longer wanted.
#include <gmock/gmock.h>

#include <algorithm>
#include <cerrno>

#include "dataplane/nftables/test_ports.h"

namespace sluice::dataplane::nftables {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Le;
using testing::Not;

TEST(Refusal, IsNarrowedDownInFewAttempts) {
  in_fresh_netns([] {
    Hand hand;
    std::size_t attempts = 0;
    hand.refusal = [&](const sys::NftBatch& batch) {
      ++attempts;
      return refuse_address(batch, "10.96.0.78");
    };
    const auto plane = open_plane(hand);
    std::vector<Port> ports;
    for (unsigned i = 0; i < 200; ++i) ports.push_back(port(i));
    const Outcome outcome = must_apply(*plane, full(ports));
    ASSERT_EQ(outcome.refused.size(), 1u);
    EXPECT_EQ(outcome.refused[0].port, port(77)->key);
    EXPECT_EQ(outcome.refused[0].reason, "nftables: no");
    EXPECT_LE(attempts, 2 * 8 + 4u);
  });
}

TEST(Refusal, OfAllIsNotTriedOneByOne) {
  in_fresh_netns([] {
    Hand hand;
    std::size_t attempts = 0;
    hand.refusal = [&](const sys::NftBatch& batch) {
      ++attempts;
      return refuse_address(batch, "10.1.0.1");
    };
    const auto plane = open_plane(hand);
    std::vector<Port> ports;
    for (unsigned i = 0; i < 500; ++i) ports.push_back(port(i));
    const Outcome outcome = must_apply(*plane, full(ports));
    EXPECT_EQ(outcome.refused.size(), 500u);
    EXPECT_EQ(std::ranges::count_if(outcome.refused, [](const RefusedPort& each) { return !each.untried; }), 16);
    EXPECT_LE(attempts, 60u);
  });
}

TEST(Distress, OfALargeBatchIsHelpedBySmallerOnes) {
  in_fresh_netns([] {
    Hand hand;
    hand.refusal = [](const sys::NftBatch& batch) -> std::optional<Error> {
      if (batch.bytes().size() < 20'000) return std::nullopt;
      return Error{Errc::kUnavailable, "nftables: no buffer space", ENOBUFS};
    };
    const auto plane = open_plane(hand);
    std::vector<Port> ports;
    for (unsigned i = 0; i < 200; ++i) ports.push_back(port(i));
    EXPECT_THAT(must_apply(*plane, full(ports)).refused, IsEmpty());
    EXPECT_EQ(*plane->intact(), Integrity::kKept);
    EXPECT_THAT(plane->compare(full(ports))->missing, IsEmpty());
  });
}

TEST(Distress, ThatLastsIsAnErrorAndNobodysFault) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0)}));
    hand.refusal = [](const auto&) { return Error{Errc::kUnavailable, "nftables: interrupted", EINTR}; };
    const auto applied = plane->apply(change(port(0), port(0, endpoints(3))));
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().sys_errno, EINTR);
  });
}

// What changes between our reading and our writing makes the kernel refuse; it is read again.
TEST(Distress, AChangeUnderOurHandsIsReadAgain) {
  in_fresh_netns([] {
    Hand hand;
    must_apply(*open_plane(hand), full({port(0)}));
    bool once = true;
    hand.refusal = [&](const auto&) -> std::optional<Error> {
      if (std::exchange(once, false)) run({"nft", "flush", "map", "ip", kTableName, kFrontends});
      return std::nullopt;
    };
    const auto plane = open_plane(hand);
    EXPECT_THAT(must_apply(*plane, full({port(1)})).refused, IsEmpty());
    EXPECT_THAT(plane->compare(full({port(1)}))->missing, IsEmpty());
    EXPECT_THAT(plane->compare(full({port(1)}))->unexpected, IsEmpty());
  });
}

}  // namespace
}  // namespace sluice::dataplane::nftables
