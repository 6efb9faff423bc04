// SPDX-License-Identifier: Apache-2.0
// Service ports that the kernel refuses, for a time or forever: what they cost, what is left of them, how they are
// accepted later. Each test in its own network namespace.
#include <algorithm>

#include "dataplane/iptables/test_data_plane.h"

namespace sluice::dataplane::iptables {
namespace {

using testing::HasSubstr;

plan::PortDraft refused_service(Family family, unsigned index) {
  plan::PortDraft port = simple_service(family, index, 0);
  add_server(port, address(family, "10.180", index, 1), 80, Where::kElsewhere);
  port.affinity_seconds = 0;  // xt_recent takes 1 and more
  return port;
}

plan::ServicePortPlanPtr grown(const plan::PortDraft& port, Family family) {
  plan::PortDraft larger = port;
  add_server(larger, address(family, "10.180", 200, 200), 8080, Where::kElsewhere);
  return shared(larger);
}

using RefusedPorts = DataPlaneTest;
INSTANTIATE_TEST_SUITE_P(All, RefusedPorts, every_ground(), ground_name);

TEST_P(RefusedPorts, ARefusedServiceDoesNotAffectOthers) {
  in_fresh_netns([] {
    const Family family = GetParam().family;
    std::vector<plan::ServicePortPlanPtr> ports;
    for (unsigned i = 0; i < 10; ++i) ports.push_back(shared(simple_service(family, i, 2)));
    const std::vector<plan::ServicePortPlanPtr> good = ports;
    const plan::PortDraft bad = refused_service(family, 99);
    ports.insert(ports.begin() + 4, shared(bad));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    const auto applied = plane->apply(full(ports));
    ASSERT_TRUE(applied) << applied.error().what;
    ASSERT_EQ(applied->refused.size(), 1u);
    EXPECT_EQ(applied->refused[0].port, bad.key);
    EXPECT_THAT(applied->refused[0].reason, HasSubstr("--seconds 0"));
    expect_no_difference(*plane, full(ports));
    expect_no_difference(*open_plane(GetParam()), full(good));

    // Other changes continue at their own cost; so does another attempt.
    const auto larger = grown(simple_service(family, 0, 2), family);
    EXPECT_EQ(must_apply(*plane, one_change(ports[0], larger)).kernel_transactions, 1u);
    const auto again = plane->apply(one_change(ports[4], ports[4]));
    ASSERT_TRUE(again) << again.error().what;
    EXPECT_EQ(again->stats.rules_written, 0u);
    ASSERT_EQ(again->refused.size(), 1u);
    EXPECT_EQ(again->refused[0].reason, applied->refused[0].reason) << "an event for each attempt";

    plan::PortDraft mended = bad;
    mended.affinity_seconds = 10;
    ports[0] = larger;
    must_apply(*plane, one_change(ports[4], shared(mended)));
    ports[4] = shared(mended);
    expect_no_difference(*open_plane(GetParam()), full(ports));
  });
}

TEST_P(RefusedPorts, ARefusedPortThatIsRemovedLeavesNothing) {
  in_fresh_netns([] {
    const Family family = GetParam().family;
    const auto good = shared(simple_service(family, 0, 1));
    const auto bad = shared(refused_service(family, 1));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    ASSERT_TRUE(plane->apply(full({good, bad})));
    must_apply(*plane, one_change(bad, nullptr));
    expect_no_difference(*open_plane(GetParam()), full({good}));
    const auto fresh = open_plane(GetParam());
    must_apply(*fresh, full({good}));
    EXPECT_EQ(plane->rules_by_table(), fresh->rules_by_table());
  });
}

// A kernel without SCTP and a cluster full of it: the number of attempts is bounded, the rest is set aside.
TEST_P(RefusedPorts, ManyRefusedPortsCostAFewRunsAndOthersNothing) {
  in_fresh_netns([] {
    const Family family = GetParam().family;
    std::vector<plan::ServicePortPlanPtr> ports;
    std::vector<plan::ServicePortPlanPtr> good;
    for (unsigned i = 0; i < 100; ++i) {
      const bool is_bad = i % 2 == 0;
      ports.push_back(shared(is_bad ? refused_service(family, i) : simple_service(family, i, 1)));
      if (!is_bad) good.push_back(ports.back());
    }
    std::sort(ports.begin(), ports.end(), [](const auto& a, const auto& b) { return a->key < b->key; });
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    const auto applied = plane->apply(full(ports));
    ASSERT_TRUE(applied) << applied.error().what;
    EXPECT_EQ(applied->refused.size(), 50u);
    EXPECT_EQ(std::count_if(applied->refused.begin(), applied->refused.end(),
                            [](const RefusedPort& each) { return !each.untried; }),
              3);
    expect_no_difference(*open_plane(GetParam()), full(good));
  });
}

// Of the same kind as the refused ones, but valid.
TEST_P(RefusedPorts, APortThatWasSetAsideIsServedByTheNextAttempt) {
  in_fresh_netns([] {
    const Family family = GetParam().family;
    std::vector<plan::ServicePortPlanPtr> ports;
    for (unsigned i = 0; i < 4; ++i) ports.push_back(shared(refused_service(family, i)));
    plan::PortDraft fine = refused_service(family, 4);
    fine.affinity_seconds = 10;
    ports.push_back(shared(fine));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    const auto applied = plane->apply(full(ports));
    ASSERT_TRUE(applied) << applied.error().what;
    ASSERT_EQ(applied->refused.size(), 5u);
    EXPECT_TRUE(applied->refused[4].untried);
    must_apply(*plane, one_change(ports[4], ports[4]));
    expect_no_difference(*open_plane(GetParam()), full({ports[4]}));
  });
}

TEST_P(RefusedPorts, AFlushIsNotTakenForARefusal) {
  in_fresh_netns([this] {
    const Family family = GetParam().family;
    std::vector<plan::ServicePortPlanPtr> ports;
    for (unsigned i = 0; i < 3; ++i) ports.push_back(shared(simple_service(family, i, 1)));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    must_apply(*plane, full(ports));
    for (const char* table : {"nat", "filter", "mangle"}) {
      run({tool().command, "-w", "5", "-t", table, "-F"});
      run({tool().command, "-w", "5", "-t", table, "-X"});
    }
    const auto grown = shared(simple_service(family, 3, 1));
    const auto applied = plane->apply(one_change(nullptr, grown));
    ASSERT_TRUE(applied) << applied.error().what;
    EXPECT_THAT(applied->refused, testing::IsEmpty());
    ports.push_back(grown);
    expect_no_difference(*plane, full(ports));
  });
}

TEST_P(RefusedPorts, AVersionThatIsRefusedLeavesTheOldOneServing) {
  in_fresh_netns([] {
    const Family family = GetParam().family;
    const auto old = shared(simple_service(family, 0, 1));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    const auto second = shared(simple_service(family, 1, 1));
    const auto third = shared(simple_service(family, 2, 1));
    must_apply(*plane, full({old, second}));
    plan::PortDraft bad = simple_service(family, 0, 1);
    add_server(bad, address(family, "10.180", 7, 7), 80, Where::kElsewhere);
    bad.affinity_seconds = 0;  // xt_recent takes 1 and more
    Changes changes = one_change(old, shared(bad));
    changes.ports.push_back({nullptr, third});
    const auto applied = plane->apply(changes);
    ASSERT_TRUE(applied) << applied.error().what;
    EXPECT_EQ(applied->refused.size(), 1u);
    expect_no_difference(*open_plane(GetParam()), full({old, second, third}));
    expect_no_difference(*plane, full({shared(bad), second, third}));

    // From the refused version to a valid one.
    plan::PortDraft next = bad;
    next.affinity_seconds = 10;
    must_apply(*plane, one_change(shared(bad), shared(next)));
    expect_no_difference(*open_plane(GetParam()), full({shared(next), second, third}));
  });
}

TEST_P(RefusedPorts, ARefusedVersionIsKeptOutOfRewrittenDispatchChainsToo) {
  in_fresh_netns([this] {
    const Family family = GetParam().family;
    std::vector<plan::ServicePortPlanPtr> ports;
    for (unsigned i = 0; i < 100; ++i) ports.push_back(shared(simple_service(family, i, 1)));
    const auto plane = open_plane(GetParam());
    ASSERT_TRUE(plane);
    must_apply(*plane, full(ports));
    // The refused version would also answer on another address.
    plan::PortDraft bad = simple_service(family, 99, 1);
    bad.external_ips = {ip(address(family, "198.51", 0, 1))};
    bad.externally_accessible = true;
    bad.affinity_seconds = 0;  // xt_recent takes 1 and more
    Changes changes;
    for (unsigned i = 0; i < 90; ++i) changes.ports.push_back({ports[i], nullptr});
    changes.ports.push_back({ports[99], shared(bad)});
    EXPECT_EQ(plane->apply(changes)->refused.size(), 1u);
    const std::vector<plan::ServicePortPlanPtr> left(ports.begin() + 90, ports.end());
    expect_no_difference(*open_plane(GetParam()), full(left));

    // And out of a rewrite because of others.
    Changes back;
    for (unsigned i = 0; i < 90; ++i) back.ports.push_back({nullptr, ports[i]});
    must_apply(*plane, back);
    for (plan::Change& change : back.ports) std::swap(change.before, change.after);
    must_apply(*plane, back);
    expect_no_difference(*open_plane(GetParam()), full(left));

    // The same by a full apply over a damaged chain, which is then rewritten.
    run({tool().command, "-w", "5", "-t", "nat", "-D", "KUBE-SERVICES", "11"});
    std::vector<plan::ServicePortPlanPtr> wanted(left.begin(), left.end() - 1);
    wanted.push_back(shared(bad));
    EXPECT_EQ(plane->apply(full(wanted))->refused.size(), 1u);
    expect_no_difference(*open_plane(GetParam()), full(left));
  });
}

}  // namespace
}  // namespace sluice::dataplane::iptables
