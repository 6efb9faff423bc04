// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/shared_elements.h"

#include <gmock/gmock.h>

namespace sluice::dataplane::nftables {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const sys::NftElement kA{{1}, {}};
const sys::NftElement kB{{2}, {}};
const sys::NftElement kC{{3}, {}};

TEST(SharedElements, AreMissingUntilAddedHoweverManyWantThem) {
  SharedElements shared("set");
  shared.want({kA, kB});
  shared.want({kB});
  EXPECT_THAT(shared.missing(), ElementsAre(kA, kB));
  shared.note_added();
  EXPECT_THAT(shared.missing(), IsEmpty());
  // A later batch brings what it needs alone.
  shared.want({kB, kC});
  EXPECT_THAT(shared.missing(), ElementsAre(kC));
  EXPECT_THAT(shared.superfluous(), IsEmpty());
}

TEST(SharedElements, AreSuperfluousOnceNobodyWantsThem) {
  SharedElements shared("set");
  shared.want({kA});
  shared.want({kA});
  shared.note_added();
  shared.give_up({kA});
  EXPECT_THAT(shared.superfluous(), IsEmpty());
  shared.give_up({kA});
  EXPECT_THAT(shared.superfluous(), ElementsAre(kA));
  shared.note_removed();
  EXPECT_THAT(shared.superfluous(), IsEmpty());
  shared.want({kA});
  EXPECT_THAT(shared.missing(), ElementsAre(kA));
}

TEST(SharedElements, ThatAreLiveAreSuperfluousUntilTheyAreWanted) {
  SharedElements shared("set");
  shared.want({kC});
  shared.assign({kA, kB});
  EXPECT_THAT(shared.missing(), IsEmpty());
  EXPECT_THAT(shared.superfluous(), ElementsAre(kA, kB));
  shared.want({kB, kC});
  shared.note_added();
  EXPECT_THAT(shared.superfluous(), ElementsAre(kA)) << "however many batches come before anybody asks";
}

TEST(SharedElements, AreAsBeforeWhereABatchIsRefused) {
  SharedElements shared("set");
  shared.want({kA});
  shared.note_added();
  shared.want({kB});
  shared.give_up({kA});
  shared.give_up({kB});
  shared.want({kA});
  EXPECT_THAT(shared.missing(), IsEmpty());
  EXPECT_THAT(shared.superfluous(), IsEmpty());
}

}  // namespace
}  // namespace sluice::dataplane::nftables
