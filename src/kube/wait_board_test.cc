// SPDX-License-Identifier: Apache-2.0
#include "kube/wait_board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::kube {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using namespace std::chrono_literals;

TEST(WaitBoard, AWaitCountsFromTheFirstReportWhateverTheReason) {
  FakeClock clock;
  WaitBoard board(clock);
  const auto start = clock.wall_now();
  board.wait("Service", WaitsFor::kObjects, "Service", "");
  clock.advance(5s);
  board.wait("Service", WaitsFor::kObjects, "Service", "403");
  EXPECT_THAT(board.list(), ElementsAre(Waiting{WaitsFor::kObjects, "Service", "403", start}));
  board.wait("Service", WaitsFor::kServer, "https://h", "refused");
  EXPECT_THAT(board.list(), ElementsAre(Waiting{WaitsFor::kServer, "https://h", "refused", start + 5s}));
  board.done("Service");
  EXPECT_THAT(board.list(), IsEmpty());
}

TEST(WaitBoard, SeveralWaitsForOneThingAreOneEntrySinceTheFirstWithTheLastReason) {
  FakeClock clock;
  WaitBoard board(clock);
  const auto start = clock.wall_now();
  board.wait("b", WaitsFor::kServer, "https://h", "refused");
  clock.advance(1s);
  board.wait("a", WaitsFor::kServer, "https://h", "timed out");
  board.wait("c", WaitsFor::kNode, "n", "none");
  board.wait("d", WaitsFor::kFolder, "/f", "gone");
  EXPECT_THAT(board.list(), ElementsAre(Waiting{WaitsFor::kFolder, "/f", "gone", start + 1s},
                                        Waiting{WaitsFor::kServer, "https://h", "timed out", start},
                                        Waiting{WaitsFor::kNode, "n", "none", start + 1s}));
  clock.advance(1s);
  board.wait("b", WaitsFor::kServer, "https://h", "refused again");
  EXPECT_EQ(board.list()[1], (Waiting{WaitsFor::kServer, "https://h", "refused again", start}));
  board.done("b");
  EXPECT_EQ(board.list()[1], (Waiting{WaitsFor::kServer, "https://h", "timed out", start + 1s}));
}

TEST(WaitBoard, EachThingHasItsText) {
  EXPECT_EQ((Waiting{WaitsFor::kFolder, "/f", "gone", {}}).words(), "folder /f: gone");
  EXPECT_EQ((Waiting{WaitsFor::kServer, "https://h:1", "refused", {}}).words(), "API server https://h:1: refused");
  EXPECT_EQ((Waiting{WaitsFor::kObjects, "EndpointSlice", "", {}}).words(), "the list of EndpointSlices");
  EXPECT_EQ((Waiting{WaitsFor::kNode, "a", "not there", {}}).words(), "Node \"a\": not there");
}

}  // namespace
}  // namespace sluice::kube
