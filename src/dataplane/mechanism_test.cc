// SPDX-License-Identifier: Apache-2.0
#include "dataplane/mechanism.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/fake_mechanism.h"

namespace sluice::dataplane {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Objects, AreReadableText) {
  EXPECT_EQ((Objects{"chain", "chains", 1}.to_string()), "1 chain");
  EXPECT_EQ((Objects{"chain", "chains", 2}.to_string()), "2 chains");
  EXPECT_EQ((Objects{"the device kube-ipvs0", "", 1}.to_string()), "the device kube-ipvs0");
}

TEST(Objects, OfOneKindAreOneEntry) {
  std::vector<Objects> objects;
  add(objects, {"chain", "chains", 2});
  add(objects, {"the device kube-ipvs0", "", 1});
  add(objects, {"chain", "chains", 3});
  add(objects, {"the device kube-ipvs0", "", 1});
  EXPECT_THAT(objects, ElementsAre(Objects{"chain", "chains", 5}, Objects{"the device kube-ipvs0", "", 1}));
}

TEST(RemoveAll, WorksInPiecesAndEndsThoughOneIsRefused) {
  FakeMechanism mechanism("fake");
  mechanism.objects = {"a", "b", "c", "d", "e"};
  mechanism.refused["b"] = "in use";
  mechanism.piece = 2;
  const Removal removal = remove_all(mechanism, mechanism.leftovers({}));
  EXPECT_THAT(removal.removed, ElementsAre(Objects{"object", "objects", 4}));
  EXPECT_THAT(removal.problems, ElementsAre("b: in use"));
  EXPECT_EQ(mechanism.removals, 3u);
  EXPECT_FALSE(mechanism.leftovers({}).none()) << "a second look finds what stayed";
  mechanism.refused.clear();
  EXPECT_THAT(remove_all(mechanism, mechanism.leftovers({})).problems, IsEmpty());
  EXPECT_TRUE(mechanism.leftovers({}).none());
}

TEST(RemoveAll, OfWhatWasRemovedMeanwhileIsNoProblem) {
  FakeMechanism mechanism("fake");
  mechanism.objects = {"a", "b"};
  Leftovers leftovers = mechanism.leftovers({});
  mechanism.objects = {"b"};
  const Removal removal = remove_all(mechanism, std::move(leftovers));
  EXPECT_THAT(removal.removed, ElementsAre(Objects{"object", "objects", 1}));
  EXPECT_THAT(removal.problems, IsEmpty());
}

TEST(Leftovers, OfWhichOneIsUnsureOrUnseenAreNotNone) {
  Leftovers leftovers;
  EXPECT_TRUE(leftovers.none());
  leftovers.unsure = {"TCP 192.0.2.1:30080"};
  EXPECT_FALSE(leftovers.none());
  leftovers = {};
  leftovers.problems = {"ip_vs cannot be asked"};
  EXPECT_FALSE(leftovers.none());
}

}  // namespace
}  // namespace sluice::dataplane
