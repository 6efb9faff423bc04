// SPDX-License-Identifier: Apache-2.0
// The data plane on a kernel that refuses, is in distress, or holds what is no longer wanted.
#include <gmock/gmock.h>

#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "dataplane/nftables/test_ports.h"

namespace sluice::dataplane::nftables {
namespace {

using testing::ElementsAre;
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
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
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

TEST(Refusal, ByAWordThatMayMeanASurpriseIsNarrowedDownAsWell) {
  for (const auto& [code, number] : {std::pair(Errc::kNotFound, ENOENT), std::pair(Errc::kAlreadyExists, EEXIST)}) {
    in_fresh_netns([code = code, number = number] {
      Hand hand;
      hand.refusal = [&](const sys::NftBatch& batch) -> std::optional<Error> {
        if (!refuse_address(batch, "10.1.9.9")) return std::nullopt;
        return Error{code, "nftables: no", number};
      };
      const auto plane = open_plane(hand);
      std::vector<Port> good;
      for (unsigned i = 0; i < 20; ++i) good.push_back(port(i));
      std::vector<Port> wanted = good;
      const Port bad = port(20, {"10.1.9.9"});
      wanted.insert(wanted.begin() + 7, bad);
      const Outcome outcome = must_apply(*plane, full(wanted));
      ASSERT_EQ(outcome.refused.size(), 1u);
      EXPECT_EQ(outcome.refused[0].port, bad->key);
      EXPECT_EQ(outcome.refused[0].reason, "nftables: no");
      EXPECT_THAT(plane->compare(full(wanted))->missing, IsEmpty());
      // One more attempt, beside the change of another port, costs that port alone.
      Changes changes = change(good[0], port(0, endpoints(1)));
      changes.ports.push_back({bad, bad});
      EXPECT_EQ(must_apply(*plane, changes).refused.size(), 1u);
      hand.refusal = [](const auto&) { return std::nullopt; };
      EXPECT_THAT(must_apply(*plane, change(bad, bad)).refused, IsEmpty());
      wanted[0] = port(0, endpoints(1));
      EXPECT_THAT(plane->compare(full(wanted))->missing, IsEmpty());
    });
  }
}

// ---- live Services beside refused ones

// More than are tried one by one: one behind every third good one.
std::vector<Port> refused_and(const std::vector<Port>& good) {
  std::vector<Port> ports;
  for (unsigned i = 0; i < good.size(); ++i) {
    ports.push_back(good[i]);
    if (i % 3 == 2) ports.push_back(port(100 + i, {"10.1.9.9"}));
  }
  return ports;
}

std::vector<Port> some(const std::vector<std::string>& endpoints) {
  std::vector<Port> ports;
  for (unsigned i = 0; i < 60; ++i) ports.push_back(port(i, endpoints));
  return ports;
}

TEST(ManyRefusals, LeaveALiveServiceThatDoesNotChangeAlone) {
  in_fresh_netns([] {
    Hand hand;
    must_apply(*open_plane(hand), full(some(endpoints(2))));
    hand.refusal = [](const sys::NftBatch& batch) { return refuse_address(batch, "10.1.9.9"); };
    const auto plane = open_plane(hand);
    const Outcome outcome = must_apply(*plane, full(refused_and(some(endpoints(2)))));
    EXPECT_EQ(outcome.refused.size(), 20u);
    EXPECT_EQ(outcome.stats.rules_written, 0u);
    EXPECT_THAT(plane->compare(full(some(endpoints(2))))->missing, IsEmpty());
    // And it is known as well as ever.
    EXPECT_EQ(must_apply(*plane, change(port(0), nullptr)).stats.rules_written, 4u);
  });
}

TEST(ManyRefusals, DoNotKeepALiveServiceFromItsChange) {
  in_fresh_netns([] {
    Hand hand;
    must_apply(*open_plane(hand), full(some(endpoints(2))));
    hand.refusal = [](const sys::NftBatch& batch) { return refuse_address(batch, "10.1.9.9"); };
    const auto plane = open_plane(hand);
    EXPECT_EQ(must_apply(*plane, full(refused_and(some(endpoints(3))))).refused.size(), 20u);
    EXPECT_THAT(plane->compare(full(some(endpoints(3))))->missing, IsEmpty());
  });
}

// ---- what the kernel does not release

TEST(Unremoved, AServiceThatThePartialApplyCouldNotRemoveIsNotRefused) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0), port(1)}));
    hand.refusal = [](const sys::NftBatch& batch) { return refuse_address(batch, "10.96.0.1"); };
    const Outcome outcome = must_apply(*plane, change(port(0), nullptr));
    EXPECT_THAT(outcome.refused, IsEmpty());
    EXPECT_THAT(outcome.unremoved, ElementsAre(testing::AllOf(HasSubstr("svc-0000"), HasSubstr("nftables: no"))));
    EXPECT_TRUE(plane->compare(full({port(1)}))->empty()) << "what is not released is no drift";
    // It may be wanted again, or go after all.
    hand.refusal = [](const auto&) { return std::nullopt; };
    EXPECT_THAT(must_apply(*plane, change(nullptr, port(0, endpoints(3)))).refused, IsEmpty());
    EXPECT_TRUE(plane->compare(full({port(0, endpoints(3)), port(1)}))->empty());
    EXPECT_THAT(must_apply(*plane, change(port(0, endpoints(3)), nullptr)).unremoved, IsEmpty());
    EXPECT_TRUE(plane->compare(full({port(1)}))->empty());
  });
}

TEST(Unremoved, ElementsThatAFullApplyCouldNotRemoveAreNamed) {
  in_fresh_netns([] {
    Hand hand;
    must_apply(*open_plane(hand), full({port(0), port(1)}));
    hand.refusal = [](const sys::NftBatch& batch) { return refuse_address(batch, "10.96.0.1"); };
    const auto plane = open_plane(hand);
    const Outcome outcome = must_apply(*plane, full({port(1), port(2)}));
    EXPECT_THAT(outcome.refused, IsEmpty());
    EXPECT_THAT(outcome.unremoved,
                testing::Contains(testing::AllOf(HasSubstr("10.96.0.1 . tcp . 80"), HasSubstr("frontends"),
                                                 HasSubstr("nftables: no"))));
    EXPECT_THAT(outcome.unremoved, testing::Each(HasSubstr("10.96.0.1 ")));
    EXPECT_TRUE(plane->compare(full({port(1), port(2)}))->empty());
    hand.refusal = [](const auto&) { return std::nullopt; };
    EXPECT_THAT(must_apply(*plane, full({port(1), port(2)})).unremoved, IsEmpty());
    EXPECT_TRUE(open_plane(hand)->compare(full({port(1), port(2)}))->empty());
  });
}

TEST(Unremoved, AnAddressIsGivenUpAlthoughItsHeirIsRefused) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    const auto named = [](const std::string& name, const std::string& endpoint) {
      return port_of(make_service(name, {service_port("p", 80)}, {"10.96.9.1"}), {endpoint});
    };
    const Port old = named("old", "10.1.0.1");
    const Port heir = named("heir", "10.1.9.9");
    must_apply(*plane, full({old, port(1)}));
    hand.refusal = [](const sys::NftBatch& batch) { return refuse_address(batch, "10.1.9.9"); };
    Changes changes;
    changes.ports = {{nullptr, heir}, {old, nullptr}};
    const Outcome outcome = must_apply(*plane, changes);
    ASSERT_EQ(outcome.refused.size(), 1u);
    EXPECT_EQ(outcome.refused[0].port, heir->key);
    EXPECT_THAT(outcome.unremoved, IsEmpty());
    const auto frontends = sys::read_nft_elements(Family::kIPv4, kTableName, kFrontends);
    ASSERT_TRUE(frontends);
    EXPECT_EQ(frontends->size(), 1u) << "the one that nothing happened to";
    hand.refusal = [](const auto&) { return std::nullopt; };
    EXPECT_THAT(must_apply(*plane, change(heir, heir)).refused, IsEmpty());
    EXPECT_TRUE(plane->compare(full({heir, port(1)}))->empty());
  });
}

// Of two ports that share an address one is refused; the other one has sets of its own, which stay as they are.
TEST(Unremoved, AnAddressIsGivenUpByAPortWithAffinityThatKeepsItsClients) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    model::Service wanted = service(0);
    wanted.affinity_seconds = 600;
    const Port after = port_of(wanted, endpoints(2));
    wanted.external_ips = {ip("192.0.2.77")};
    const Port before = port_of(wanted, endpoints(2));
    const Port heir = port_of(make_service("heir", {service_port("p", 80)}, {"192.0.2.77"}), {"10.1.9.9"});
    must_apply(*plane, full({before, port(1)}));
    const std::string clients = "clients-shop/svc-0000/tcp/p__10.1.0.1/8080";
    run({"nft", "add", "element", "ip", kTableName, clients, "{ 10.9.9.9 timeout 600s }"});
    hand.refusal = [](const sys::NftBatch& batch) { return refuse_address(batch, "10.1.9.9"); };
    Changes changes;
    changes.ports = {{nullptr, heir}, {before, after}};
    EXPECT_THAT(must_apply(*plane, changes).refused, testing::SizeIs(1));
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    EXPECT_TRUE(plane->compare(full({heir, after, port(1)}))->empty());
    EXPECT_THAT(run({"nft", "list", "set", "ip", kTableName, clients}), HasSubstr("10.9.9.9"));
  });
}

// Such as a set of another form that a rule of another program uses.
TEST(Unremoved, WhatIsInUseKeepsNoOtherPortWaiting) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    hand.refusal = [](const sys::NftBatch& batch) -> std::optional<Error> {
      if (!refuse_address(batch, "10.1.9.9")) return std::nullopt;
      return Error{Errc::kUnavailable, "nftables: busy", EBUSY};
    };
    const Port busy = port_of(make_service("busy", {service_port("p", 80)}, {"10.96.0.99"}), {"10.1.9.9"});
    const Outcome outcome = must_apply(*plane, full({busy, port(0), port(1)}));
    ASSERT_EQ(outcome.refused.size(), 1u);
    EXPECT_EQ(outcome.refused[0].port, busy->key);
    EXPECT_EQ(outcome.refused[0].reason, "nftables: busy");
    EXPECT_TRUE(plane->compare(full({port(0), port(1)}))->empty());
    hand.refusal = [](const auto&) { return std::nullopt; };
    EXPECT_THAT(must_apply(*plane, change(busy, busy)).refused, IsEmpty());
  });
}

// The kernel runs out of memory when the two are tried apart.
TEST(Unremoved, DistressIsNoFaultOfPortsThatShareAnAddress) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    model::Service wanted = service(0);
    const Port after = port_of(wanted, endpoints(2));
    wanted.external_ips = {ip("192.0.2.77")};
    const Port before = port_of(wanted, endpoints(2));
    const Port heir = port_of(make_service("heir", {service_port("p", 80)}, {"192.0.2.77"}), {"10.1.9.9"});
    must_apply(*plane, full({before, port(1)}));
    bool together = true;
    hand.refusal = [&](const sys::NftBatch& batch) -> std::optional<Error> {
      auto refused = refuse_address(batch, "10.1.9.9");
      if (!refused || std::exchange(together, false)) return refused;
      return Error{Errc::kUnavailable, "nftables: no memory", ENOMEM};
    };
    Changes changes;
    changes.ports = {{nullptr, heir}, {before, after}};
    const auto applied = plane->apply(changes);
    ASSERT_FALSE(applied);
    EXPECT_THAT(applied.error().what, HasSubstr("no memory"));
    hand.refusal = [](const auto&) { return std::nullopt; };
    EXPECT_THAT(must_apply(*plane, full({heir, after, port(1)})).refused, IsEmpty());
  });
}

bool deletes_chain(const sys::NftBatch& batch, const std::string& name) {
  const auto data = batch.bytes();
  for (std::size_t at = 0; at + sizeof(nlmsghdr) <= data.size();) {
    nlmsghdr header{};
    std::memcpy(&header, data.data() + at, sizeof header);
    const auto message = data.subspan(at, header.nlmsg_len);
    const std::string wanted = name + '\0';
    if ((header.nlmsg_type & 0xff) == NFT_MSG_DELCHAIN &&
        std::search(message.begin(), message.end(), wanted.begin(), wanted.end()) != message.end())
      return true;
    at += NLMSG_ALIGN(header.nlmsg_len);
  }
  return false;
}

// Kernels before 6.2 count a chain as used for a while after the last element that led to it has gone.
TEST(BusyChain, KeepsNoSyncFromSucceedingAndNoOtherChain) {
  in_fresh_netns([] {
    Hand hand;
    must_apply(*open_plane(hand), full({port(0, endpoints(3)), port(1, endpoints(4))}));
    hand.refusal = [](const sys::NftBatch& batch) -> std::optional<Error> {
      if (!deletes_chain(batch, "address-cluster-3")) return std::nullopt;
      return Error{Errc::kUnavailable, "nftables: busy", EBUSY};
    };
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0)}));
    EXPECT_THAT(must_apply(*plane, change(port(0), port(0, endpoints(1)))).unremoved, IsEmpty());
    const auto again = plane->tend();
    ASSERT_TRUE(again) << again.error().what;
    EXPECT_TRUE(*again) << "it is tried again";
    EXPECT_THAT(names_of_parts("address-cluster-"), ElementsAre("address-cluster-1", "address-cluster-3"));
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    EXPECT_TRUE(plane->compare(full({port(0, endpoints(1))}))->empty());
    hand.refusal = [](const auto&) { return std::nullopt; };
    EXPECT_FALSE(*plane->tend());
    EXPECT_THAT(names_of_parts("address-cluster-"), ElementsAre("address-cluster-1"));
  });
}

TEST(BusyChain, ThatStaysSoIsNamedAndTriedAgainByAFullApply) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0, endpoints(3))}));
    hand.refusal = [](const sys::NftBatch& batch) -> std::optional<Error> {
      if (!deletes_chain(batch, "address-cluster-3")) return std::nullopt;
      return Error{Errc::kUnavailable, "nftables: busy", EBUSY};
    };
    must_apply(*plane, full({port(0)}));
    int turns = 0;
    while (turns < 50 && *plane->tend()) ++turns;
    EXPECT_THAT(turns, testing::AllOf(testing::Gt(1), testing::Lt(50))) << "not for ever";
    EXPECT_THAT(must_apply(*plane, change(port(0), port(0))).unremoved,
                ElementsAre(testing::AllOf(HasSubstr("address-cluster-3"), HasSubstr("nftables: busy"))));
    EXPECT_THAT(must_apply(*plane, change(port(0), port(0))).unremoved, IsEmpty()) << "it is named once";
    EXPECT_THAT(must_apply(*plane, full({port(0)})).unremoved, testing::SizeIs(1)) << "and by each full apply";
    // It may be of use again.
    must_apply(*plane, change(port(0), port(0, endpoints(3))));
    EXPECT_THAT(must_apply(*plane, full({port(0, endpoints(3))})).unremoved, IsEmpty());
    must_apply(*plane, full({port(0)}));
    hand.refusal = [](const auto&) { return std::nullopt; };
    EXPECT_FALSE(*plane->tend());
    EXPECT_THAT(names_of_parts("address-cluster-"), ElementsAre("address-cluster-2"));
  });
}

TEST(BusyChain, ThatAMapOfOthersLeadsToGoesWithThatMap) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0, endpoints(3))}));
    run({"nft", "add", "map", "ip", kTableName, "mine",
         "{ type ipv4_addr : verdict; elements = { 192.0.2.1 : goto address-cluster-3 }; }"});
    must_apply(*plane, change(port(0, endpoints(3)), port(0)));
    auto again = plane->tend();
    ASSERT_TRUE(again) << again.error().what;
    EXPECT_TRUE(*again);
    must_apply(*plane, full({port(0)}));
    again = plane->tend();
    ASSERT_TRUE(again) << again.error().what;
    EXPECT_FALSE(*again);
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    EXPECT_THAT(run({"nft", "list", "table", "ip", kTableName}),
                testing::AllOf(Not(HasSubstr("mine")), Not(HasSubstr("address-cluster-3"))));
  });
}

// ---- the end of a plane that is in distress

TEST(Retirement, AfterAFullApplyThatFailedTakesNoNewConnections) {
  for (const std::size_t commits : {std::size_t{0}, std::size_t{1}}) {
    in_fresh_netns([commits] {
      Hand hand;
      Options options;
      options.batch_objects_max = 1;
      must_apply(*open_plane(hand, options), full({port(0), port(1)}));
      const auto plane = open_plane(hand, options);
      hand.commits_left = commits;
      EXPECT_FALSE(plane->apply(full({port(2, endpoints(3)), port(3, endpoints(4))})));
      hand.commits_left = static_cast<std::size_t>(-1);
      const auto retired = plane->retire();
      ASSERT_TRUE(retired) << retired.error().what;
      const auto table = sys::read_nft_table(Family::kIPv4, kTableName);
      ASSERT_TRUE(table && *table);
      EXPECT_FALSE((*table)->rules.contains(kPrerouting));
      EXPECT_FALSE((*table)->rules.contains(kOutput));
      // Whoever is connected needs no chain, but nothing is known of those that are there.
      const auto again = plane->tend();
      ASSERT_TRUE(again) << again.error().what;
      EXPECT_FALSE(*again);
      EXPECT_THAT(names_of_parts("address-cluster-2"), testing::SizeIs(1));
    });
  }
}

}  // namespace
}  // namespace sluice::dataplane::nftables
