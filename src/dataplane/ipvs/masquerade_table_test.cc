// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/masquerade_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/helper_test_net.h"

namespace sluice::dataplane::ipvs {
namespace {

using testing::HasSubstr;
using testing::Not;

class MasqueradeTableTest : public testing::TestWithParam<Family> {
 protected:
  std::unique_ptr<MasqueradeTable> open(std::uint32_t mark) const {
    auto table = open_masquerade_table(GetParam(), mark);
    if (!table) {
      ADD_FAILURE() << table.error().what;
      return nullptr;
    }
    return *std::move(table);
  }
  static std::string printed() {
    return run({"nft", "-n", "list", "table", nft_name(GetParam()), kMasqueradeTableName});
  }
};

TEST_P(MasqueradeTableTest, IsWrittenOnceAndAgainWhereItDiffers) {
  in_fresh_netns([this] {
    const auto table = open(0x4000);
    EXPECT_FALSE(*table->intact());
    EXPECT_FALSE(table->compare()->empty());
    EXPECT_GT(written(table->replace()), 0);
    EXPECT_EQ(written(table->replace()), 0);
    EXPECT_TRUE(*table->intact());
    EXPECT_TRUE(table->compare()->empty());
    const std::string text = printed();
    EXPECT_THAT(text, HasSubstr("type nat hook postrouting priority 100; policy accept;"));
    EXPECT_THAT(text,
                HasSubstr("meta mark & 0x00004000 == 0x00004000 meta mark set meta mark & 0xffffbfff masquerade to "
                          ":32768-65535 fully-random"));
    const auto other = open(0x8000);
    EXPECT_FALSE(*other->intact());
    EXPECT_GT(written(other->replace()), 0);
    EXPECT_THAT(printed(), Not(HasSubstr("0x00004000")));
  });
}

INSTANTIATE_TEST_SUITE_P(Families, MasqueradeTableTest, testing::Values(Family::kIPv4, Family::kIPv6),
                         [](const auto& family) { return std::string(to_string(family.param)); });

}  // namespace
}  // namespace sluice::dataplane::ipvs
