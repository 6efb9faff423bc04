// SPDX-License-Identifier: Apache-2.0
// The data plane on the real kernel: what each kind of change costs, and in what order a first sync writes.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cerrno>
#include <functional>

#include "base/ip_literals.h"
#include "dataplane/nftables/test_ports.h"

namespace sluice::dataplane::nftables {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Le;
using testing::Not;

// ---- what a change costs

// How many elements and rules each change of the first Service writes, beside so many others. The treatments for two and
// for three endpoints are there already.
std::vector<std::size_t> costs_beside(unsigned others) {
  Hand hand;
  const auto plane = open_plane(hand);
  std::vector<Port> ports{port(0), port(1, endpoints(3)), port(2, {}), port(3, endpoints(1))};
  for (unsigned i = 4; i < others; ++i) ports.push_back(port(i));
  must_apply(*plane, full(ports));
  EXPECT_TRUE(plane->tend());
  std::vector<std::size_t> costs;
  Port now = port(0);
  const auto step = [&](Port next) {
    const std::size_t commits = hand.messages.size();
    costs.push_back(must_apply(*plane, change(now, next)).stats.rules_written);
    EXPECT_EQ(hand.messages.size(), commits + 1) << "each change is one transaction";
    now = std::move(next);
  };
  step(port(0, endpoints(3)));              // one more: its slot, and the frontend's treatment, old and new
  step(port(0, {"10.1.0.1", "10.1.0.3"}));  // one less, not the last: its slot gets the last one
  step(port(0, {"10.1.0.1", "10.1.0.9"}));  // another one in its place: its slot, old and new
  step(port(0, {}));                        // none: both slots, and the frontend's treatment
  step(port(0, endpoints(1)));              // the first
  model::Service balanced = service(0);
  balanced.type = model::ServiceType::kLoadBalancer;
  balanced.ingress = {{ip("203.0.113.1")}};
  step(port_of(balanced, endpoints(1)));  // one more address: itself, its slot, and the chain that hides all
  step(nullptr);                          // all of it
  return costs;
}

TEST(Cost, OfAChangeIsTheChangesAlone) {
  in_fresh_netns([] {
    const auto costs = costs_beside(10);
    EXPECT_THAT(costs, ElementsAre(3, 5, 2, 4, 3, 4, 5));
    EXPECT_EQ(costs_beside(600), costs);
  });
}

// A Service of some kind, as the index-th of that kind.
using Make = std::function<Port(unsigned index)>;

struct Kind {
  const char* name;
  Family family;
  Make before;
  Make after;
  std::size_t written;
};

Port of_kind(Family family, unsigned index, unsigned far, const std::function<void(model::Service&, unsigned)>& with) {
  const bool v4 = family == Family::kIPv4;
  const auto address = [&](const char* begin4, const char* begin6, unsigned number) {
    return (v4 ? begin4 : begin6) + std::to_string(number);
  };
  model::Service wanted = make_service(fmt::format("kind-{}", index), {service_port("p", 80)},
                                       {address("10.96.77.", "fd00:96::", index + 1)});
  with(wanted, index);
  std::vector<std::string> all{address("10.1.0.", "fd01::", 200) + " @self"};
  for (unsigned i = 1; i <= far; ++i) all.push_back(address("10.1.0.", "fd01::", i) + " @far");
  const auto protocol = wanted.ports[0].protocol;
  return plan_of(wanted, {make_slice("slice", wanted.key.name, {slice_port("p", 8080, protocol)}, all, family)})
      .ports.at(0);
}

void balanced(model::Service& service, unsigned index) {
  service.type = model::ServiceType::kLoadBalancer;
  service.ingress = {{ip("203.0.113." + std::to_string(index + 1))}};
}
void balanced_local(model::Service& service, unsigned index) {
  balanced(service, index);
  service.external_traffic_policy = model::TrafficPolicy::kLocal;
}
void with_ranges(model::Service& service, unsigned index) {
  balanced(service, index);
  service.source_ranges = {cidr("198.51.100.0/24")};
}
void with_more_ranges(model::Service& service, unsigned index) {
  with_ranges(service, index);
  service.source_ranges.push_back(cidr("192.0.2.0/24"));
}
void with_node_port(model::Service& service, unsigned index) {
  service.type = model::ServiceType::kNodePort;
  service.ports[0].node_port = static_cast<std::uint16_t>(30000 + index);
}

std::vector<Kind> kinds() {
  const auto plain = [](model::Service&, unsigned) {};
  const auto udp = [](model::Service& service, unsigned) { service.ports[0].protocol = Protocol::kUdp; };
  const auto local = [](model::Service& service, unsigned) {
    service.internal_traffic_policy = model::TrafficPolicy::kLocal;
  };
  const auto make = [](Family family, unsigned far, std::function<void(model::Service&, unsigned)> with) -> Make {
    return [=](unsigned index) { return of_kind(family, index, far, with); };
  };
  using enum Family;
  return {
      // Its slot, and the frontend, old and new.
      {"an endpoint more, IPv4", kIPv4, make(kIPv4, 1, plain), make(kIPv4, 2, plain), 3},
      {"an endpoint more, IPv6", kIPv6, make(kIPv6, 1, plain), make(kIPv6, 2, plain), 3},
      {"an endpoint more, UDP", kIPv4, make(kIPv4, 1, udp), make(kIPv4, 2, udp), 3},
      // Which no client here gets.
      {"a far endpoint more, internal policy Local", kIPv4, make(kIPv4, 1, local), make(kIPv4, 2, local), 0},
      // The same at each address.
      {"an endpoint more, node port", kIPv4, make(kIPv4, 1, with_node_port), make(kIPv4, 2, with_node_port), 6},
      {"an endpoint more, load balancer", kIPv4, make(kIPv4, 1, balanced), make(kIPv4, 2, balanced), 6},
      {"a far endpoint more, external policy Local", kIPv4, make(kIPv4, 1, balanced_local),
       make(kIPv4, 2, balanced_local), 6},
      {"a range more", kIPv4, make(kIPv4, 1, with_ranges), make(kIPv4, 1, with_more_ranges), 1},
      {"a range less", kIPv4, make(kIPv4, 1, with_more_ranges), make(kIPv4, 1, with_ranges), 1},
      {"another policy", kIPv4, make(kIPv4, 1, balanced), make(kIPv4, 1, balanced_local), 3},
  };
}

std::size_t cost_beside(const Kind& kind, unsigned others) {
  Hand hand;
  Options options;
  options.family = kind.family;
  const auto plane = open_plane(hand, options);
  std::vector<Port> ports{kind.before(0), kind.before(1), kind.after(2)};
  for (unsigned i = 3; i < 3 + others; ++i) ports.push_back(kind.before(i));
  must_apply(*plane, full(ports));
  hand.messages.clear();
  const Outcome outcome = must_apply(*plane, change(kind.before(0), kind.after(0)));
  EXPECT_THAT(outcome.refused, IsEmpty());
  EXPECT_LE(hand.messages.size(), 1u) << "one transaction";
  return outcome.stats.rules_written;
}

TEST(Cost, OfEachKindOfChangeIsItsOwnHoweverManyOthersThereAre) {
  for (const Kind& kind : kinds()) {
    SCOPED_TRACE(kind.name);
    in_fresh_netns([&kind] { EXPECT_EQ(cost_beside(kind, 5), kind.written); });
    in_fresh_netns([&kind] { EXPECT_EQ(cost_beside(kind, 200), kind.written); });
  }
}

TEST(Cost, OfManyChangesAtOnceIsOneTransaction) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0), port(1), port(2, endpoints(3))}));
    hand.messages.clear();
    Changes changes = change(port(0), port(0, endpoints(3)));
    changes.ports.push_back({port(1), port(1, endpoints(3))});
    EXPECT_EQ(must_apply(*plane, changes).stats.rules_written, 6u);
    EXPECT_THAT(hand.messages, ElementsAre(3u)) << "frontends out, frontends in, endpoints in";
  });
}

// A set for each of its endpoints and five rules for two; whatever other Services there are.
TEST(Affinity, AServerComesAndGoesWithItsClients) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({sticky(endpoints(2)), port(1)}));
    run({"nft", "add", "element", "ip", kTableName, "clients-shop/svc-0000/tcp/p__10.1.0.1/8080",
         "{ 192.0.2.1 timeout 1h }"});
    run({"nft", "add", "element", "ip", kTableName, "clients-shop/svc-0000/tcp/p__10.1.0.2/8080",
         "{ 192.0.2.2 timeout 1h }"});
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    const std::size_t commits = hand.messages.size();
    must_apply(*plane, change(sticky(endpoints(2)), sticky({"10.1.0.2", "10.1.0.3"})));
    EXPECT_EQ(hand.messages.size(), commits + 1);
    EXPECT_THAT(run({"nft", "list", "chain", "ip", kTableName, "sticky-cluster-shop/svc-0000/tcp/p"}),
                testing::AllOf(Not(HasSubstr("10.1.0.1/")), HasSubstr("10.1.0.2/"), HasSubstr("10.1.0.3/")));
    ASSERT_TRUE(plane->tend());
    EXPECT_THAT(names_of_parts("clients-"), ElementsAre("clients-shop/svc-0000/tcp/p__10.1.0.2/8080",
                                                        "clients-shop/svc-0000/tcp/p__10.1.0.3/8080"));
    EXPECT_THAT(names_of_parts("server-"), testing::SizeIs(2));
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    // A fresh process knows them again, and leaves their clients alone.
    const auto fresh = open_plane(hand);
    EXPECT_EQ(must_apply(*fresh, full({sticky({"10.1.0.2", "10.1.0.3"}), port(1)})).stats.rules_written, 0u);
    EXPECT_THAT(run({"nft", "list", "set", "ip", kTableName, "clients-shop/svc-0000/tcp/p__10.1.0.2/8080"}),
                HasSubstr("192.0.2.2"));
    EXPECT_THAT(fresh->compare(full({sticky({"10.1.0.2", "10.1.0.3"}), port(1)}))->unexpected, IsEmpty());
  });
}

TEST(Affinity, AnotherTimeWritesRulesAndKeepsClients) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({sticky(endpoints(2))}));
    run({"nft", "add", "element", "ip", kTableName, "clients-shop/svc-0000/tcp/p__10.1.0.1/8080",
         "{ 192.0.2.1 timeout 1h }"});
    EXPECT_EQ(must_apply(*plane, change(sticky(endpoints(2)), sticky(endpoints(2), 60))).stats.rules_written, 4u);
    EXPECT_THAT(run({"nft", "list", "table", "ip", kTableName}),
                testing::AllOf(HasSubstr("timeout 1m"), Not(HasSubstr("timeout 10m")), HasSubstr("192.0.2.1")));
    must_apply(*plane, change(sticky(endpoints(2), 60), port(0)));
    ASSERT_TRUE(plane->tend());
    EXPECT_THAT(names_of_parts("clients-"), IsEmpty());
    EXPECT_THAT(names_of_parts("sticky-"), IsEmpty());
  });
}

Port scheduled(const std::string& scheduler) {
  model::Service wanted = service(0);
  wanted.sluice_annotations = {{"sluice.dev/scheduler", scheduler}};
  return port_of(wanted, endpoints(2));
}

TEST(Scheduler, OfAServiceThatTakesTurnsHasACounterToItself) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({scheduled("rr"), port(1)}));
    EXPECT_THAT(run({"nft", "list", "chain", "ip", kTableName, "turn-address-cluster-2-shop/svc-0000/tcp/p"}),
                HasSubstr("numgen inc mod 2 "));
    EXPECT_THAT(run({"nft", "list", "chain", "ip", kTableName, "address-cluster-2"}),
                HasSubstr("numgen random mod 2 "));
    must_apply(*plane, change(scheduled("rr"), port(0)));
    ASSERT_TRUE(plane->tend());
    EXPECT_THAT(names_of_parts("turn-"), IsEmpty());
  });
}

TEST(Scheduler, ThatTheModeDoesNotHaveIsAnUnmetRequestOfItsServiceAndServedByChance) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({scheduled("lc"), port(1)}));
    ASSERT_EQ(plane->unmet_requests().size(), 1u);
    EXPECT_EQ(plane->unmet_requests()[0].service.name, "svc-0000");
    EXPECT_THAT(plane->unmet_requests()[0].why, HasSubstr("\"lc\""));
    EXPECT_THAT(names_of_parts("turn-"), IsEmpty());
    must_apply(*plane, change(scheduled("lc"), scheduled("sh")));
    ASSERT_EQ(plane->unmet_requests().size(), 1u);
    EXPECT_THAT(plane->unmet_requests()[0].why, HasSubstr("\"sh\""));
    must_apply(*plane, change(scheduled("sh"), nullptr));
    EXPECT_THAT(plane->unmet_requests(), IsEmpty());
    must_apply(*plane, full({scheduled("lc")}));
    must_apply(*plane, full({port(1)}));
    EXPECT_THAT(plane->unmet_requests(), IsEmpty());
  });
}

// ---- the first sync

TEST(FirstSync, ComesInBoundedBatchesMostImportantFirst) {
  in_fresh_netns([] {
    Hand hand;
    std::vector<std::string> order;
    hand.refusal = [&](const sys::NftBatch& batch) -> std::optional<Error> {
      const auto data = batch.bytes();
      for (const auto& [name, address] :
           {std::pair("kubernetes", "10.96.0.1"), std::pair("dns", "10.96.0.10"), std::pair("other", "10.97.0.9")}) {
        const IpAddress searched = ip(address);
        const auto bytes = searched.bytes();
        const bool holds =
            std::search(data.begin(), data.end(), bytes.begin(), bytes.end(),
                        [](char a, std::uint8_t b) { return static_cast<std::uint8_t>(a) == b; }) != data.end();
        if (holds && std::ranges::find(order, name) == order.end()) order.emplace_back(name);
      }
      return std::nullopt;
    };
    Options options;
    options.batch_objects_max = 6;
    const auto plane = open_plane(hand, options);
    model::Service kubernetes = make_service("kubernetes", {service_port("p", 443)}, {"10.96.0.1"});
    kubernetes.key.namespace_name = "default";
    model::Service dns = make_service("coredns", {service_port("p", 53)}, {"10.96.0.10"});
    dns.key.namespace_name = "kube-system";
    const model::Service other = make_service("aaa", {service_port("p", 80)}, {"10.97.0.9"});
    const auto of = [](const model::Service& service) {
      auto slice = make_slice("slice", service.key.name, {slice_port("p", 8080)}, endpoints(4));
      slice.key.namespace_name = service.key.namespace_name;
      return plan_of(service, {slice}).ports.at(0);
    };
    const std::size_t transactions =
        must_apply(*plane, full({of(other), of(kubernetes), of(dns)})).stats.kernel_transactions;
    EXPECT_THAT(order, ElementsAre("kubernetes", "dns", "other"));
    EXPECT_EQ(transactions, 5u) << "the rules, one for each Service, and the cluster IPs last";
  });
}

// A Service port with affinity has one element, and sets, chains and rules for each of its endpoints; one whose endpoints
// take turns has chains.
TEST(FirstSync, CountsSetsChainsAndRulesOfABatch) {
  for (const bool affinity : {true, false}) {
    in_fresh_netns([affinity] {
      std::vector<Port> ports;
      std::vector<Port> others;
      for (unsigned i = 0; i < 40; ++i) {
        model::Service wanted = service(i);
        if (affinity) wanted.affinity_seconds = 600;
        if (!affinity) wanted.sluice_annotations = {{"sluice.dev/scheduler", "rr"}};
        ports.push_back(port_of(wanted, endpoints(4)));
        others.push_back(port(i, endpoints(4)));
      }
      Hand hand;
      Options options;
      options.batch_objects_max = 60;
      const auto plane = open_plane(hand, options);
      must_apply(*plane, full({}));
      hand.messages.clear();
      must_apply(*plane, full(ports));
      EXPECT_THAT(hand.messages, testing::Each(Le(70u))) << "beside what a batch has once";
      EXPECT_TRUE(plane->compare(full(ports))->empty());
      // Over what is there, nothing of it is written, and so nothing counted.
      const auto fresh = open_plane(hand, options);
      EXPECT_EQ(must_apply(*fresh, full(ports)).stats.kernel_transactions, 0u);
      // A partial apply, and what it leaves behind.
      hand.messages.clear();
      Changes changes;
      for (std::size_t i = 0; i < ports.size(); ++i) changes.ports.push_back({ports[i], others[i]});
      must_apply(*fresh, changes);
      ASSERT_TRUE(fresh->tend());
      EXPECT_THAT(hand.messages, testing::Each(Le(120u))) << "a chain's rules are one message, the chain another";
      EXPECT_THAT(names_of_parts(affinity ? "sticky-" : "turn-"), IsEmpty());
      hand.messages.clear();
      changes.ports.clear();
      for (std::size_t i = 0; i < ports.size(); ++i) changes.ports.push_back({others[i], ports[i]});
      must_apply(*fresh, changes);
      EXPECT_THAT(hand.messages, testing::Each(Le(70u)));
    });
  }
}

// Until all ports are there, what a Service's address does not serve yet may be served by whoever was before us.
TEST(FirstSync, RefusesNothingBeforeAllIsServed) {
  in_fresh_netns([] {
    Hand hand;
    Options options;
    options.batch_objects_max = 1;
    const auto plane = open_plane(hand, options);
    hand.commits_left = 2;
    EXPECT_FALSE(plane->apply(full({port(0), port(1)})));
    const auto cluster_ips = sys::read_nft_elements(Family::kIPv4, kTableName, kClusterIps);
    ASSERT_TRUE(cluster_ips);
    EXPECT_THAT(*cluster_ips, IsEmpty());
  });
}

TEST(FirstSync, OverSlotsInAnotherOrderWritesNothing) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0, endpoints(5))}));
    const auto fewer = port(0, {"10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"});
    must_apply(*plane, change(port(0, endpoints(5)), fewer));
    const auto fresh = open_plane(hand);
    EXPECT_EQ(must_apply(*fresh, full({fewer})).stats.rules_written, 0u);
    const auto difference = fresh->compare(full({fewer}));
    ASSERT_TRUE(difference);
    EXPECT_THAT(difference->missing, IsEmpty());
    EXPECT_THAT(difference->unexpected, IsEmpty());
    // And it knows them: the next change is as small as ever.
    const auto again = port(0, {"10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.9"});
    EXPECT_EQ(must_apply(*fresh, change(fewer, again)).stats.rules_written, 2u);
  });
}

// As that of a Service whose load balancer has its external IP.
TEST(FirstSync, OverAnAddressThatIsExternalAndTheLoadBalancersTakesAwayWhatIsTooMuch) {
  in_fresh_netns([] {
    const auto doubled = [](unsigned count, const std::vector<Cidr>& ranges) {
      model::Service wanted = service(0);
      wanted.type = model::ServiceType::kLoadBalancer;
      wanted.external_ips = {ip("203.0.113.9")};
      wanted.ingress = {{ip("203.0.113.9")}};
      wanted.source_ranges = ranges;
      return port_of(wanted, endpoints(count));
    };
    Hand hand;
    const std::vector<Cidr> ranges{cidr("198.51.100.0/24"), cidr("192.0.2.0/24")};
    must_apply(*open_plane(hand), full({doubled(3, ranges)}));
    for (const Port& fewer : {doubled(2, ranges), doubled(2, {ranges[0]}), doubled(1, {})}) {
      const auto fresh = open_plane(hand);
      must_apply(*fresh, full({fewer}));
      const auto difference = fresh->compare(full({fewer}));
      ASSERT_TRUE(difference);
      EXPECT_TRUE(difference->empty());
    }
  });
}

TEST(FirstSync, ReplacesATableOfAnotherVersionInOneTransaction) {
  in_fresh_netns([] {
    run({"nft", "-f", "-"},
        fmt::format(
            "table ip {} {{\n  map frontends {{\n type ipv4_addr : ipv4_addr\n }}\n  set old {{\n type mark\n }}\n"
            "  chain old {{\n type nat hook prerouting priority -100; ip daddr 10.96.0.1 drop\n }}\n}}\n",
            kTableName));
    Hand hand;
    Options options;
    options.batch_objects_max = 3;
    const auto plane = open_plane(hand, options);
    must_apply(*plane, full({port(0), port(1), port(2)}));
    EXPECT_THAT(hand.messages, testing::SizeIs(Le(2u))) << "the table, and the cluster IPs";
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    EXPECT_THAT(run({"nft", "list", "table", "ip", kTableName}), Not(HasSubstr("old")));
  });
}

// ---- others' hands

TEST(Others, AFlushedRulesetIsWrittenAgain) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0), port(1)}));
    run({"nft", "flush", "ruleset"});
    EXPECT_EQ(*plane->intact(), Integrity::kDamaged);
    EXPECT_FALSE(plane->apply(change(port(0), port(0, endpoints(1))))) << "nobody knows what is live";
    must_apply(*plane, full({port(0, endpoints(1)), port(1)}));
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
  });
}

TEST(Others, AnElementTakenAwayIsNoFaultOfThePort) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0), port(1)}));
    run({"nft", "flush", "map", "ip", kTableName, kFrontends});
    EXPECT_FALSE(plane->apply(change(port(0), nullptr)));
    const Outcome outcome = must_apply(*plane, full({port(1)}));
    EXPECT_THAT(outcome.refused, IsEmpty());
    EXPECT_EQ(outcome.stats.rules_written, 4u) << "one frontend comes; a cluster IP and two endpoints go";
  });
}

TEST(Others, ChainsAndElementsOfOthersInOurTableGo) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0)}));
    run({"nft", "add", "chain", "ip", kTableName, "mine"});
    run({"nft", "add", "rule", "ip", kTableName, "mine", "drop"});
    run({"nft", "add", "element", "ip", kTableName, kClusterIps, "{ 10.9.9.9 }"});
    EXPECT_EQ(*plane->intact(), Integrity::kDamaged);
    const auto difference = plane->compare(full({port(0)}));
    ASSERT_TRUE(difference);
    EXPECT_THAT(difference->unexpected,
                testing::UnorderedElementsAre("nftables chain mine", "element 10.9.9.9 of nftables set cluster-ips"));
    must_apply(*plane, full({port(0)}));
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    ASSERT_TRUE(plane->tend());
    EXPECT_EQ(looked_at(*plane), Integrity::kKept);
    EXPECT_THAT(run({"nft", "list", "table", "ip", kTableName}),
                testing::AllOf(Not(HasSubstr("mine")), Not(HasSubstr("10.9.9.9"))));
  });
}

TEST(Claims, AnAddressThatMovesFromOneServiceToAnotherMovesInOne) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    model::Service old = make_service("zzz", {service_port("p", 80)}, {"10.96.9.1"});
    model::Service heir = make_service("aaa", {service_port("p", 80)}, {"10.96.9.1"});
    const Port before = port_of(old, endpoints(2));
    const Port after = port_of(heir, {"10.1.0.7", "10.1.0.8"});
    must_apply(*plane, full({before}));
    Changes changes;
    changes.ports = {{nullptr, after}, {before, nullptr}};
    EXPECT_THAT(must_apply(*plane, changes).refused, IsEmpty());
    EXPECT_THAT(plane->compare(full({after}))->missing, IsEmpty());
    EXPECT_THAT(plane->compare(full({after}))->unexpected, IsEmpty());
  });
}

}  // namespace
}  // namespace sluice::dataplane::nftables
