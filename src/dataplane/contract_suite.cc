// SPDX-License-Identifier: Apache-2.0
// Three planes that agree in simple cases and differ in what they leave of a refused port, or after a crash, would
// make sync know them all. So what dataplane.h promises is tested here on each of them, through the kernel that it
// really programs, or through the fake of that kernel's next neighbour.
// Long, because it is one contract: to be read from top to bottom by authors of a plane.
#include "dataplane/contract_suite.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "base/test_paths.h"
#include "plan/test_objects.h"

namespace sluice::dataplane {
namespace {

using plan::test::make_service;
using plan::test::make_slice;
using plan::test::plan_of;
using plan::test::service_port;
using plan::test::slice_port;
using testing::IsEmpty;
using testing::Not;

constexpr std::uint16_t kPort = 80;
// More prefixes than the smallest changes have; a plane that needs more changes for one Service is not incremental.
constexpr std::size_t kPrefixesMax = 40;

using Ports = std::vector<plan::ServicePortPlanPtr>;
using Set = std::set<std::string>;

model::Service service(unsigned index) {
  return make_service(fmt::format("svc-{:03}", index), {service_port("p", kPort)},
                      {fmt::format("10.96.{}.{}", index / 250, index % 250 + 1)});
}

const IpAddress& address_of(const model::Service& service) {
  return service.cluster_ips.front();
}

// Its one port, with real servers at these addresses, all on port 8080.
plan::ServicePortPlanPtr port_of(const model::Service& service, const std::vector<std::string>& endpoints) {
  return plan_of(service, {make_slice("slice", service.key.name, {slice_port("p", 8080)}, endpoints)}).ports.at(0);
}

plan::ServicePortPlanPtr port(unsigned index, const std::vector<std::string>& endpoints = {"10.1.0.1", "10.1.0.2"}) {
  return port_of(service(index), endpoints);
}

Ports ports(unsigned count) {
  Ports all;
  for (unsigned i = 0; i < count; ++i) all.push_back(port(i));
  return all;
}

Changes full(const Ports& ports) {
  Changes changes;
  changes.full = true;
  for (const auto& each : ports) changes.ports.push_back({nullptr, each});
  return changes;
}

Changes partial(plan::ServicePortPlanPtr before, plan::ServicePortPlanPtr after) {
  Changes changes;
  changes.ports.push_back({std::move(before), std::move(after)});
  return changes;
}

Outcome must_apply(DataPlane& plane, const Changes& changes) {
  auto outcome = plane.apply(changes);
  if (!outcome) {
    ADD_FAILURE() << outcome.error().what;
    return {};
  }
  EXPECT_TRUE(plane.tend());
  return *std::move(outcome);
}

// Everything was accepted.
void serve(DataPlane& plane, const Changes& changes) {
  const Outcome outcome = must_apply(plane, changes);
  for (const RefusedPort& each : outcome.refused) ADD_FAILURE() << each.port.printed_name() << ": " << each.reason;
  EXPECT_THAT(outcome.unremoved, IsEmpty());
}

void expect_equal(DataPlane& plane, const Ports& wanted) {
  const auto difference = plane.compare(full(wanted));
  ASSERT_TRUE(difference) << difference.error().what;
  EXPECT_THAT(difference->missing, IsEmpty());
  EXPECT_THAT(difference->unexpected, IsEmpty());
}

void expect_integrity(PlaneRig& rig, DataPlane& plane, Integrity wanted) {
  rig.others_act();
  const auto integrity = plane.intact();
  ASSERT_TRUE(integrity) << integrity.error().what;
  EXPECT_EQ(*integrity, wanted);
}

Set reached(PlaneRig& rig, unsigned index) {
  return rig.reached_by(address_of(service(index)), kPort);
}
const Set kBoth{"10.1.0.1:8080", "10.1.0.2:8080"};

// ---- what is live

TEST_P(PlaneContract, AFullApplyOverNothingServesAll) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    serve(*plane, full(ports(3)));
    for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(reached(rig, i), kBoth);
    expect_equal(*plane, ports(3));
    expect_integrity(rig, *plane, Integrity::kKept);
  });
}

TEST_P(PlaneContract, OpeningAPlaneWritesNothing) {
  on_rig([](PlaneRig& rig) {
    const auto before = rig.everything();
    (void)rig.open();
    EXPECT_EQ(rig.everything(), before);
  });
}

TEST_P(PlaneContract, AFullApplyOverAnotherPlansObjectsServesOnlyWhatIsWanted) {
  on_rig([](PlaneRig& rig) {
    serve(*rig.open(), full({port(0), port(1), port(2)}));
    const Ports wanted{port(1, {"10.1.0.9"}), port(2), port(3)};
    const auto plane = rig.open();
    serve(*plane, full(wanted));
    EXPECT_THAT(reached(rig, 0), IsEmpty());
    EXPECT_EQ(reached(rig, 1), Set{"10.1.0.9:8080"});
    EXPECT_EQ(reached(rig, 2), kBoth);
    EXPECT_EQ(reached(rig, 3), kBoth);
    expect_equal(*plane, wanted);
  });
}

TEST_P(PlaneContract, AFullApplyOverWhatIsRightWritesNothing) {
  on_rig([](PlaneRig& rig) {
    serve(*rig.open(), full(ports(3)));
    const auto before = rig.everything();
    const auto plane = rig.open();
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(must_apply(*plane, full(ports(3))).stats.rules_written, 0u);
      EXPECT_EQ(rig.everything(), before);
    }
  });
}

TEST_P(PlaneContract, NothingWantedIsServedToo) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    serve(*plane, full({}));
    expect_equal(*plane, {});
    expect_integrity(rig, *plane, Integrity::kKept);
    serve(*plane, full(ports(2)));
    serve(*plane, full({}));
    EXPECT_THAT(reached(rig, 0), IsEmpty());
    expect_equal(*plane, {});
  });
}

TEST_P(PlaneContract, APartialApplyCostsWhatItChanges) {
  on_rig([](PlaneRig& rig) {
    const auto cost_beside = [&](unsigned others) {
      const auto plane = rig.open();
      serve(*plane, full(ports(others)));
      const Outcome grown = must_apply(*plane, partial(port(0), port(0, {"10.1.0.1", "10.1.0.2", "10.1.0.3"})));
      const Outcome new_one = must_apply(*plane, partial(nullptr, port(others)));
      const Outcome gone = must_apply(*plane, partial(port(others), nullptr));
      return std::vector{grown.stats.rules_written, new_one.stats.rules_written, gone.stats.rules_written};
    };
    EXPECT_EQ(cost_beside(3), cost_beside(60));
  });
}

TEST_P(PlaneContract, ChangesComeAndGo) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    serve(*plane, full(ports(2)));
    serve(*plane, partial(nullptr, port(5)));
    EXPECT_EQ(reached(rig, 5), kBoth);
    serve(*plane, partial(port(5), port(5, {"10.1.0.7"})));
    EXPECT_EQ(reached(rig, 5), Set{"10.1.0.7:8080"});
    serve(*plane, partial(port(5, {"10.1.0.7"}), port(5, {})));
    EXPECT_THAT(reached(rig, 5), IsEmpty());
    expect_equal(*plane, {port(0), port(1), port(5, {})});
    serve(*plane, partial(port(5, {}), nullptr));
    expect_equal(*plane, ports(2));
  });
}

TEST_P(PlaneContract, AComparisonNamesWhatDiffersAndChangesNothing) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    serve(*plane, full(ports(2)));
    const auto before = rig.everything();
    const auto difference = plane->compare(full({port(0), port(2)}));
    ASSERT_TRUE(difference) << difference.error().what;
    EXPECT_THAT(difference->missing, Not(IsEmpty()));
    EXPECT_THAT(difference->unexpected, Not(IsEmpty()));
    EXPECT_EQ(rig.everything(), before);
  });
}

// ---- others

TEST_P(PlaneContract, ObjectsOfOthersStay) {
  on_rig([](PlaneRig& rig) {
    rig.add_foreign_objects();
    const auto plane = rig.open();
    serve(*plane, full(ports(2)));
    EXPECT_TRUE(rig.foreign_objects_stand());
    expect_equal(*plane, ports(2));
    expect_integrity(rig, *plane, Integrity::kKept);
    serve(*plane, partial(port(0), nullptr));
    serve(*plane, full({}));
    EXPECT_TRUE(rig.foreign_objects_stand());
    EXPECT_TRUE(plane->retire());
    EXPECT_TRUE(rig.foreign_objects_stand());
  });
}

TEST_P(PlaneContract, DamageIsSeenAndAFullApplyRepairsIt) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    serve(*plane, full(ports(2)));
    rig.damage();
    expect_integrity(rig, *plane, Integrity::kDamaged);
    serve(*plane, full(ports(2)));
    expect_integrity(rig, *plane, Integrity::kKept);
    EXPECT_EQ(reached(rig, 0), kBoth);
    EXPECT_EQ(reached(rig, 1), kBoth);
  });
}

TEST_P(PlaneContract, AnAddedAddressIsNoDamage) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    serve(*plane, full(ports(2)));
    const bool matters = rig.change_node();
    expect_integrity(rig, *plane, matters ? Integrity::kNodeChanged : Integrity::kKept);
    serve(*plane, full(ports(2)));
    expect_integrity(rig, *plane, Integrity::kKept);
    rig.damage();
    (void)rig.change_node();
    expect_integrity(rig, *plane, Integrity::kDamaged);
  });
}

// ---- refused ports

TEST_P(PlaneContract, ARefusedPortIsNamedAndAllOthersAreServed) {
  on_rig([](PlaneRig& rig) {
    model::Service bad = service(1);
    rig.refuse(bad);
    const Ports wanted{port(0), port_of(bad, {"10.1.0.1"}), port(2)};
    const auto plane = rig.open();
    const Outcome outcome = must_apply(*plane, full(wanted));
    ASSERT_EQ(outcome.refused.size(), 1u);
    EXPECT_EQ(outcome.refused[0].port, wanted[1]->key);
    EXPECT_NE(outcome.refused[0].reason, "");
    EXPECT_FALSE(outcome.refused[0].untried);
    EXPECT_EQ(reached(rig, 0), kBoth);
    EXPECT_EQ(reached(rig, 2), kBoth);
    expect_integrity(rig, *plane, Integrity::kKept);
    expect_equal(*plane, wanted);
  });
}

TEST_P(PlaneContract, BesideARefusedPortOthersCostWhatTheyCostWithoutIt) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    serve(*plane, full(ports(3)));
    const auto larger = port(0, {"10.1.0.1", "10.1.0.2", "10.1.0.3"});
    const std::size_t alone = must_apply(*plane, partial(port(0), larger)).stats.rules_written;
    serve(*plane, partial(larger, port(0)));
    model::Service bad = service(7);
    rig.refuse(bad);
    EXPECT_EQ(must_apply(*plane, partial(nullptr, port_of(bad, {"10.1.0.1"}))).refused.size(), 1u);
    const Outcome beside = must_apply(*plane, partial(port(0), larger));
    EXPECT_EQ(beside.stats.rules_written, alone);
    EXPECT_THAT(beside.refused, IsEmpty()) << "it was not tried";
    EXPECT_EQ(reached(rig, 0), (Set{"10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"}));
  });
}

TEST_P(PlaneContract, ARefusedPortIsRetriedByAnEqualChange) {
  on_rig([](PlaneRig& rig) {
    model::Service bad = service(1);
    rig.refuse(bad);
    const auto refused = port_of(bad, {"10.1.0.1", "10.1.0.2"});
    const auto plane = rig.open();
    ASSERT_EQ(must_apply(*plane, full({port(0), refused})).refused.size(), 1u);
    EXPECT_EQ(must_apply(*plane, partial(refused, refused)).refused.size(), 1u);
    rig.let_in(bad);
    const auto good = port_of(bad, {"10.1.0.1", "10.1.0.2"});
    serve(*plane, partial(refused, good));
    EXPECT_EQ(reached(rig, 1), kBoth);
    EXPECT_EQ(reached(rig, 0), kBoth);
    const auto fresh = rig.open();
    EXPECT_EQ(must_apply(*fresh, full({port(0), good})).stats.rules_written, 0u) << "nothing is left of the attempts";
  });
}

TEST_P(PlaneContract, ARemovedRefusedPortLeavesNothing) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    serve(*plane, full({port(0)}));
    const auto before = rig.everything();
    model::Service bad = service(1);
    rig.refuse(bad);
    const auto refused = port_of(bad, {"10.1.0.1"});
    ASSERT_EQ(must_apply(*plane, partial(nullptr, refused)).refused.size(), 1u);
    serve(*plane, partial(refused, nullptr));
    EXPECT_EQ(rig.everything(), before);
  });
}

TEST_P(PlaneContract, AFullApplyRetriesARefusedPort) {
  on_rig([](PlaneRig& rig) {
    model::Service bad = service(1);
    rig.refuse(bad);
    const auto plane = rig.open();
    const Ports wanted{port(0), port_of(bad, {"10.1.0.1"})};
    ASSERT_EQ(must_apply(*plane, full(wanted)).refused.size(), 1u);
    EXPECT_EQ(must_apply(*plane, full(wanted)).refused.size(), 1u);
    rig.let_in(bad);
    serve(*plane, full({port(0), port_of(bad, {"10.1.0.1"})}));
    EXPECT_EQ(reached(rig, 1), Set{"10.1.0.1:8080"});
  });
}

// ---- what the kernel does not release

TEST_P(PlaneContract, WhatTheKernelDoesNotLetGoIsNamedAndIsNoDrift) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    serve(*plane, full(ports(2)));
    if (!rig.hold(service(1))) return;
    for (const Changes& changes : {partial(port(1), nullptr), full({port(0)})}) {
      const Outcome outcome = must_apply(*plane, changes);
      EXPECT_THAT(outcome.unremoved, Not(IsEmpty()));
      EXPECT_THAT(outcome.refused, IsEmpty());
      EXPECT_EQ(reached(rig, 0), kBoth);
      EXPECT_EQ(reached(rig, 1), Set{});
      expect_integrity(rig, *plane, Integrity::kKept);
      expect_equal(*plane, {port(0)});
    }
    // It may be wanted again before it went.
    serve(*plane, partial(nullptr, port(1)));
    EXPECT_EQ(reached(rig, 1), kBoth);
    expect_equal(*plane, ports(2));
    EXPECT_THAT(must_apply(*plane, partial(port(1), nullptr)).unremoved, Not(IsEmpty()));
    rig.let_go();
    serve(*plane, full({port(0)}));
    expect_equal(*plane, {port(0)});
    const auto fresh = rig.open();
    EXPECT_EQ(must_apply(*fresh, full({port(0)})).stats.rules_written, 0u) << "nothing is left of it";
  });
}

// ---- a process that ends

// At every prefix of what `change` writes, each Service in `always` is served, only by what `allowed` names;
// a fresh process then completes it.
void end_at_every_prefix(PlaneRig& rig, const Ports& before, const Changes& change, const Ports& after,
                         const std::vector<unsigned>& always, const Set& allowed) {
  for (std::size_t prefix = 0; prefix < kPrefixesMax; ++prefix) {
    SCOPED_TRACE(fmt::format("killed after {} changes", prefix));
    const auto plane = rig.open();
    serve(*plane, full(before));
    rig.end_process_after(prefix);
    const bool done = static_cast<bool>(plane->apply(change));
    rig.end_process_after(PlaneRig::kNever);
    for (const unsigned index : always) {
      const Set now = reached(rig, index);
      EXPECT_THAT(now, Not(IsEmpty())) << "svc-" << index;
      EXPECT_TRUE(std::includes(allowed.begin(), allowed.end(), now.begin(), now.end())) << testing::PrintToString(now);
    }
    const auto next = rig.open();
    serve(*next, full(after));
    expect_equal(*next, after);
    if (done) return;
  }
  ADD_FAILURE() << "one Service's change takes more than " << kPrefixesMax << " changes of the kernel";
}

TEST_P(PlaneContract, AtEveryPrefixOfAReplacementNewOrOldServes) {
  on_rig([](PlaneRig& rig) {
    const auto moved = port(0, {"10.1.0.8", "10.1.0.9"});
    end_at_every_prefix(rig, ports(2), partial(port(0), moved), {moved, port(1)}, {0, 1},
                        {"10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.8:8080", "10.1.0.9:8080"});
  });
}

TEST_P(PlaneContract, AtEveryPrefixOfOneMoreAllOthersServe) {
  on_rig([](PlaneRig& rig) { end_at_every_prefix(rig, ports(2), partial(nullptr, port(2)), ports(3), {0, 1}, kBoth); });
}

TEST_P(PlaneContract, AtEveryPrefixOfOneLessAllOthersServe) {
  on_rig([](PlaneRig& rig) { end_at_every_prefix(rig, ports(3), partial(port(2), nullptr), ports(2), {0, 1}, kBoth); });
}

TEST_P(PlaneContract, AtEveryPrefixOfAFullApplyWhatWasServedIsServed) {
  on_rig([](PlaneRig& rig) {
    const Ports after{port(0), port(1, {"10.1.0.1"}), port(3)};
    end_at_every_prefix(rig, ports(3), full(after), after, {0, 1}, kBoth);
  });
}

// ---- a plane that ends

TEST_P(PlaneContract, ARetiredPlaneAcceptsNoNewConnectionsAndEnds) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    serve(*plane, full(ports(2)));
    for (int i = 0; i < 2; ++i) {
      const auto retired = plane->retire();
      ASSERT_TRUE(retired) << retired.error().what;
      EXPECT_THAT(reached(rig, 0), IsEmpty());
      EXPECT_THAT(reached(rig, 1), IsEmpty());
    }
    rig.end_connections();
    const auto again = plane->tend();
    ASSERT_TRUE(again) << again.error().what;
    EXPECT_FALSE(*again) << "no connection is left";
    // A later process of this mode serves as over any leftovers.
    const auto next = rig.open();
    serve(*next, full(ports(2)));
    EXPECT_EQ(reached(rig, 0), kBoth);
    expect_equal(*next, ports(2));
  });
}

TEST_P(PlaneContract, APlaneThatServedNothingRetiresAtOnce) {
  on_rig([](PlaneRig& rig) {
    const auto before = rig.everything();
    const auto plane = rig.open();
    EXPECT_TRUE(plane->retire());
    EXPECT_EQ(rig.everything(), before);
    EXPECT_FALSE(*plane->tend());
  });
}

TEST_P(PlaneContract, CapabilitiesNameEachGapOnceAndWithAReason) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    std::set<Gap> gaps;
    for (const Limitation& each : plane->capabilities().lacks) {
      EXPECT_TRUE(gaps.insert(each.gap).second) << to_string(each.gap);
      EXPECT_NE(each.why, "");
      EXPECT_FALSE(plane->capabilities().can(each.gap));
    }
    std::set<std::string_view> names;
    for (const Gap gap : kGaps) EXPECT_TRUE(names.insert(to_string(gap)).second);
    EXPECT_FALSE(names.contains(""));
  });
}

// Word for word, and nothing that the mode can do.
TEST_P(PlaneContract, DocsDifferencesQuotesItsGaps) {
  on_rig([](PlaneRig& rig) {
    const auto plane = rig.open();
    std::set<std::string> wanted;
    for (const Limitation& each : plane->capabilities().lacks)
      wanted.insert(fmt::format("| {} | `{}` | {} |", plane->name(), to_string(each.gap), each.why));
    std::set<std::string> written;
    std::ifstream file(source_path("docs/differences.md"));
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with(fmt::format("| {} | `", plane->name()))) written.insert(line);
    }
    EXPECT_TRUE(std::includes(written.begin(), written.end(), wanted.begin(), wanted.end()));
    if (rig.has_every_gap()) {
      EXPECT_EQ(written, wanted);
    }
  });
}

}  // namespace
}  // namespace sluice::dataplane
