// SPDX-License-Identifier: Apache-2.0
#include "view/diff.h"

#include <gtest/gtest.h>

#include "view/test_status.h"

namespace sluice::view {
namespace {

FamilyView family(Family which, dataplane::Difference difference) {
  FamilyView view;
  view.status.family = which;
  view.status.data_plane = "nftables";
  view.compared = true;
  view.difference = std::move(difference);
  return view;
}

FamilyView unknown(Family which) {
  FamilyView view = family(which, {});
  view.compared = false;
  view.compare_error = "the kernel is out of memory";
  return view;
}

TEST(Diff, WithoutAnyIsOneLine) {
  const std::vector<FamilyView> families{family(Family::kIPv4, {}), family(Family::kIPv6, {})};
  EXPECT_EQ(diff_text(families), "live equals wanted\n");
  EXPECT_EQ(diff_exit_status(families), 0);
  EXPECT_EQ(
      diff_json(families),
      R"({"equalsWanted":true,"families":[)"
      R"({"family":"IPv4","dataPlane":"nftables","live":{"equalsWanted":true,"missing":[],"unexpected":[]},"compareError":null},)"
      R"({"family":"IPv6","dataPlane":"nftables","live":{"equalsWanted":true,"missing":[],"unexpected":[]},"compareError":null}]})"
      "\n");
}

TEST(Diff, NamesEveryObjectBelowItsFamily) {
  std::vector<std::string> many;
  for (int i = 0; i < 50; ++i) many.push_back("element " + std::to_string(i));
  const std::vector<FamilyView> families{family(Family::kIPv4, {many, {"chain of another"}}),
                                         family(Family::kIPv6, {})};
  std::string wanted = "IPv4, mode nftables: live differs from wanted: 50 missing, 1 unexpected\n";
  for (const std::string& each : many) wanted += "- " + each + "\n";
  wanted += "+ chain of another\nIPv6, mode nftables: live equals wanted\n";
  EXPECT_EQ(diff_text(families), wanted);
  EXPECT_EQ(diff_exit_status(families), 1);
  EXPECT_NE(diff_json(families).find(R"("unexpected":["chain of another"])"), std::string::npos);
  EXPECT_EQ(diff_json(families).find(R"({"equalsWanted":false,)"), 0U);
}

TEST(Diff, OfAFamilyThatCannotBeComparedIsNoEquality) {
  const std::vector<FamilyView> families{family(Family::kIPv4, {{"element"}, {}}), unknown(Family::kIPv6)};
  EXPECT_EQ(diff_exit_status(families), 2);
  EXPECT_EQ(diff_text(families),
            "IPv4, mode nftables: live differs from wanted: 1 missing, 0 unexpected\n"
            "- element\n"
            "IPv6, mode nftables: live cannot be compared: the kernel is out of memory\n");
  EXPECT_NE(diff_json(families).find(R"("live":null,"compareError":"the kernel is out of memory")"), std::string::npos);
  EXPECT_EQ(diff_exit_status({}), 2) << "nothing is served that could be equal";
}

}  // namespace
}  // namespace sluice::view
