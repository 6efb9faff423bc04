// SPDX-License-Identifier: Apache-2.0
// Others' hands in our table: what of it is seen, and how little is written to repair it.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <functional>

#include "dataplane/nftables/nftables_mechanism.h"
#include "dataplane/nftables/test_ports.h"
#include "sys/test_netlink_faults.h"

namespace sluice::dataplane::nftables {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

void nft(std::vector<std::string> words) {
  words.insert(words.begin(), "nft");
  run(words);
}

Port guarded(const std::vector<std::string>& endpoints) {
  model::Service wanted = service(9);
  wanted.type = model::ServiceType::kLoadBalancer;
  wanted.ingress = {{ip("203.0.113.9")}};
  wanted.source_ranges = {cidr("198.51.100.0/24")};
  return port_of(wanted, endpoints);
}

TEST(Damage, NobodyChangedAnythingIsOneQuestionToTheKernel) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0), port(1)}));
    must_apply(*plane, change(port(0), port(0, endpoints(5))));
    ASSERT_TRUE(plane->tend());
    sys::NetlinkFaults counter;
    EXPECT_EQ(*plane->intact(), Integrity::kKept);
    EXPECT_EQ(counter.sent, 1u);
    // Another program's table is one look, and then it is known.
    nft({"add", "table", "ip", "other"});
    EXPECT_EQ(*plane->intact(), Integrity::kKept);
    EXPECT_GT(counter.sent, 5u);
    counter.sent = 0;
    EXPECT_EQ(*plane->intact(), Integrity::kKept);
    EXPECT_EQ(counter.sent, 1u);
  });
}

// The generation is of all tables of the namespace.
TEST(Damage, ThePlaneOfTheOtherFamilyIsNoOtherProgram) {
  in_fresh_netns([] {
    NftablesMechanism mechanism({});
    const auto open = [&](Family family) {
      PlaneSettings settings;
      settings.family = family;
      auto plane = mechanism.open(settings);
      EXPECT_TRUE(plane) << plane.error().what;
      return *std::move(plane);
    };
    const auto four = open(Family::kIPv4);
    const auto six = open(Family::kIPv6);
    must_apply(*four, full({port(0), port(1)}));
    must_apply(*six, full({}));
    must_apply(*four, change(port(0), port(0, endpoints(5))));
    sys::NetlinkFaults counter;
    for (DataPlane* plane : {four.get(), six.get()}) {
      counter.sent = 0;
      EXPECT_EQ(*plane->intact(), Integrity::kKept);
      EXPECT_EQ(counter.sent, 1u);
    }
    // Another plane of the same family is one.
    const auto second = open(Family::kIPv4);
    must_apply(*second, full({port(1)}));
    EXPECT_EQ(*four->intact(), Integrity::kDamaged);
    EXPECT_EQ(*six->intact(), Integrity::kKept);
  });
}

// The kernel does not count a commit that changes nothing.
TEST(Damage, ACommitThatTheKernelDoesNotCountHidesNoOther) {
  in_fresh_netns([] {
    Options options;
    bool lie = false;
    options.commit = [&lie](const sys::NftBatch& batch) { return lie ? Result<>() : batch.commit(); };
    auto opened = NftablesDataPlane::open(options);
    ASSERT_TRUE(opened) << opened.error().what;
    const auto plane = *std::move(opened);
    must_apply(*plane, full({port(0), port(1)}));
    lie = true;
    must_apply(*plane, change(port(0), nullptr));
    change_another_table();
    EXPECT_EQ(*plane->intact(), Integrity::kDamaged);
  });
}

// Where others commit in each period, elements of a large table are not listed in each; rules are.
TEST(Damage, OfElementsIsLookedForAsOftenAsTheirNumberAllows) {
  in_fresh_netns([] {
    Hand hand;
    Options options;
    options.listed_per_look_max = 4;
    const auto plane = open_plane(hand, options);
    const Changes wanted = full({port(0), port(1)});  // ten elements
    must_apply(*plane, wanted);
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    nft({"flush", "map", "ip", kTableName, kFrontends});
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    EXPECT_EQ(*plane->intact(), Integrity::kKept) << "time counts, and not commits";
    EXPECT_EQ(*plane->intact(), Integrity::kDamaged);
    must_apply(*plane, wanted);
    nft({"flush", "map", "ip", kTableName, kFrontends});
    EXPECT_EQ(*plane->intact(), Integrity::kDamaged) << "the first one in a while is seen at once";
    must_apply(*plane, wanted);
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    nft({"flush", "chain", "ip", kTableName, kServicesChain});
    EXPECT_EQ(*plane->intact(), Integrity::kDamaged);
  });
}

TEST(Damage, OfElementsIsSeenAndRepaired) {
  const std::string table = kTableName;
  const std::vector<std::vector<std::string>> damages{
      {"flush", "map", "ip", table, kFrontends},
      {"flush", "map", "ip", table, kEndpoints},
      {"flush", "set", "ip", table, kClusterIps},
      {"flush", "set", "ip", table, kSourceRanges},
      {"delete", "element", "ip", table, kFrontends, "{ 10.96.0.1 . tcp . 80 }"},
      {"delete", "element", "ip", table, kEndpoints, "{ 10.96.0.1 . tcp . 80 . 1 }"},
      {"add", "element", "ip", table, kEndpoints, "{ 10.96.0.1 . tcp . 80 . 9 : 10.1.0.9 . 8080 }"},
      {"add", "element", "ip", table, kHairpins, "{ 10.1.0.77 . 10.1.0.77 }"},
      // As many as before.
      {"delete element ip " + table + " cluster-ips { 10.96.0.1 }; add element ip " + table +
       " cluster-ips { 10.96.9.9 }"},
      {"delete element ip " + table + " endpoints { 10.96.0.1 . tcp . 80 . 1 }; add element ip " + table +
       " endpoints { 10.96.0.1 . tcp . 80 . 1 : 10.1.0.66 . 8080 }"},
  };
  in_fresh_netns([&] {
    Hand hand;
    const auto plane = open_plane(hand);
    const Changes wanted = full({port(0), port(1), guarded(endpoints(2))});
    must_apply(*plane, wanted);
    ASSERT_EQ(looked_at(*plane), Integrity::kKept);
    for (const auto& damage : damages) {
      SCOPED_TRACE(damage.back());
      nft(damage);
      EXPECT_EQ(*plane->intact(), Integrity::kDamaged);
      must_apply(*plane, wanted);
      EXPECT_EQ(looked_at(*plane), Integrity::kKept);
      EXPECT_TRUE(plane->compare(wanted)->empty());
    }
  });
}

// The table stays, and with it the clients that endpoints with affinity have.
TEST(Damage, OfWhatIsFixedIsRepairedInPlace) {
  const std::string table = kTableName;
  const std::string clients = "clients-shop/svc-0000/tcp/p__10.1.0.1/8080";
  const std::vector<std::vector<std::string>> damages{
      {"add", "chain", "ip", table, kPrerouting, "{ policy drop; }"},
      {"add", "table", "ip", table, "{ flags dormant; }"},
      {"flush", "chain", "ip", table, kServicesChain},
      {"flush", "chain", "ip", table, kPostrouting},
      {"flush chain ip " + table + " nat-output; delete chain ip " + table + " nat-output"},
      {"flush chain ip " + table + " nat-output; delete chain ip " + table + " nat-output; add chain ip " + table +
       " nat-output { type nat hook output priority 7; }"},
      {"flush chain ip " + table + " nat-postrouting; delete set ip " + table + " hairpins"},
      {"flush", "chain", "ip", table, "address-cluster-2"},
      {"flush", "chain", "ip", table, "sticky-cluster-shop/svc-0000/tcp/p"},
  };
  in_fresh_netns([&] {
    Hand hand;
    const auto plane = open_plane(hand);
    const Changes wanted = full({sticky(endpoints(2)), port(1)});
    must_apply(*plane, wanted);
    nft({"add", "element", "ip", table, clients, "{ 10.9.9.9 timeout 600s }"});
    ASSERT_EQ(looked_at(*plane), Integrity::kKept) << "rules manage these";
    for (const auto& damage : damages) {
      SCOPED_TRACE(testing::PrintToString(damage));
      nft(damage);
      EXPECT_EQ(*plane->intact(), Integrity::kDamaged);
      EXPECT_FALSE(plane->compare(wanted)->empty());
      must_apply(*plane, wanted);
      EXPECT_EQ(looked_at(*plane), Integrity::kKept);
      EXPECT_TRUE(plane->compare(wanted)->empty());
      EXPECT_THAT(run({"nft", "list", "set", "ip", table, clients}), HasSubstr("10.9.9.9"));
    }
  });
}

// The kernel takes neither the damage nor its repair in one transaction.
TEST(Damage, OfATableThatIsDormantBesidesIsRepaired) {
  const std::string table = kTableName;
  in_fresh_netns([&] {
    Hand hand;
    const auto plane = open_plane(hand);
    const Changes wanted = full({port(0)});
    must_apply(*plane, wanted);
    nft({"flush chain ip " + table + " nat-output; delete chain ip " + table + " nat-output"});
    nft({"add", "table", "ip", table, "{ flags dormant; }"});
    EXPECT_EQ(*plane->intact(), Integrity::kDamaged);
    must_apply(*plane, wanted);
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    EXPECT_TRUE(plane->compare(wanted)->empty());
  });
}

TEST(Damage, AWrongPolicyIsADifference) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0)}));
    nft({"add", "chain", "ip", kTableName, kPrerouting, "{ policy drop; }"});
    EXPECT_THAT(plane->compare(full({port(0)}))->missing,
                ElementsAre("type, hook, priority and policy of nftables chain nat-prerouting"));
  });
}

// Clients' sets of another form, as another version may have left them, cost one Service its clients and no other one.
TEST(Damage, AClientsSetOfAnotherFormMakesRoomForOurs) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(1)}));
    const std::string table = kTableName;
    const std::string clients = "clients-shop/svc-0000/tcp/p__10.1.0.1/8080";
    run({"nft", "-f", "-"},
        fmt::format(
            "table ip {0} {{\n set {1} {{\n type ipv4_addr . inet_service; flags dynamic,timeout; timeout 5s\n }}\n"
            " chain server-shop/svc-0000/tcp/p__10.1.0.1/8080 {{\n ip saddr . tcp dport @{1} accept\n }}\n}}\n",
            table, clients));
    hand.messages.clear();
    const auto fresh = open_plane(hand);
    const Changes wanted = full({sticky(endpoints(2)), port(1)});
    EXPECT_THAT(must_apply(*fresh, wanted).refused, IsEmpty());
    EXPECT_EQ(looked_at(*fresh), Integrity::kKept);
    EXPECT_TRUE(fresh->compare(wanted)->empty());
  });
}

TEST(Damage, AClientsSetOfAnotherFormWhosePortIsRefusedIsNoDamage) {
  in_fresh_netns([] {
    Hand hand;
    must_apply(*open_plane(hand), full({sticky({"10.1.0.1", "10.1.77.2"}), port(1)}));
    const std::string table = kTableName;
    const std::string clients = "clients-shop/svc-0000/tcp/p__10.1.0.1/8080";
    nft({"flush chain ip " + table + " sticky-cluster-shop/svc-0000/tcp/p"});
    nft({"flush chain ip " + table + " server-shop/svc-0000/tcp/p__10.1.0.1/8080; delete set ip " + table + " " +
         clients + "; add set ip " + table + " " + clients +
         " { type ipv4_addr . inet_service; flags dynamic,timeout; }"});
    hand.refusal = [](const sys::NftBatch& batch) { return refuse_address(batch, "10.1.77.2"); };
    const auto plane = open_plane(hand);
    const Changes wanted = full({sticky({"10.1.0.1", "10.1.77.2"}), port(1)});
    EXPECT_THAT(must_apply(*plane, wanted).refused, testing::SizeIs(1));
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    hand.refusal = [](const auto&) { return std::nullopt; };
    EXPECT_THAT(must_apply(*plane, wanted).refused, IsEmpty());
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    EXPECT_TRUE(plane->compare(wanted)->empty());
  });
}

// With another bit the chains that set it and the rule that looks at it change together.
TEST(Damage, AnotherMarkIsWrittenAtOnceWhereverItStands) {
  in_fresh_netns([] {
    Hand hand;
    model::Service balanced = service(0);
    balanced.type = model::ServiceType::kLoadBalancer;
    balanced.ingress = {{ip("203.0.113.1")}};
    model::Service local = balanced;
    local.key.name = "local";
    local.cluster_ips = {ip("10.96.7.7")};
    local.ingress = {{ip("203.0.113.2")}};
    local.external_traffic_policy = model::TrafficPolicy::kLocal;
    local.affinity_seconds = 600;
    const Changes wanted = full({port_of(balanced, endpoints(2)), port_of(local, endpoints(2))});
    must_apply(*open_plane(hand), wanted);
    Options options;
    options.masquerade_bit = 0x8000;
    const auto fresh = open_plane(hand, options);
    hand.commits_left = 1;
    (void)fresh->apply(wanted);
    const std::string listed = run({"nft", "-n", "list", "table", "ip", kTableName});
    EXPECT_THAT(listed, HasSubstr("0x00008000"));
    EXPECT_THAT(listed, Not(HasSubstr("0x00004000")));
  });
}

}  // namespace
}  // namespace sluice::dataplane::nftables
