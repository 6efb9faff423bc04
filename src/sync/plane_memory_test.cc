// SPDX-License-Identifier: Apache-2.0
// What is done once in a while and needs much memory at once gives that back to the kernel.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstddef>

#include "sync/loop_fixture.h"

namespace {
std::size_t trims_seen = 0;
}  // namespace

// In place of libc's, which release_freed_memory() calls.
extern "C" int malloc_trim(std::size_t) noexcept {
  ++trims_seen;
  return 0;
}

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;

class PlaneMemoryTest : public test::LoopFixture {
 protected:
  // How often memory is given back in the next step after so long.
  std::size_t trims_after(std::chrono::nanoseconds duration) {
    const std::size_t before = trims_seen;
    step_after(duration);
    return trims_seen - before;
  }
};

TEST_F(PlaneMemoryTest, IsGivenBackAfterEachFullSyncAndComparison) {
  settings_.drift_repair_interval = 10s;
  settings_.sync_period = 1h;
  const std::size_t before = trims_seen;
  start_with_web();
  EXPECT_GE(trims_seen, before + 2) << "a full sync of each family";
  EXPECT_EQ(trims_after(10s), 2u) << "a comparison of each family for drift";
  const auto shown = loop_->compare();  // for `sluice status`
  EXPECT_EQ(trims_after(1s), 2u);
  kernels_[0].canary = false;
  EXPECT_EQ(trims_after(2h), 3u) << "one compares what is damaged and writes it anew, the other one compares for drift";
}

}  // namespace
}  // namespace sluice::sync
