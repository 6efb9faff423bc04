// SPDX-License-Identifier: Apache-2.0
#include "dataplane/iptables/restore_script.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <set>

#include "dataplane/iptables/test_netns.h"

namespace sluice::dataplane::iptables {
namespace {

using testing::HasSubstr;
using testing::Not;

// Items are lines of rules in the chain T; an item's kind is its phase.
class Lines : public ItemSource {
 public:
  explicit Lines(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  ItemText text(Item item) override {
    ++asked;
    if (excluded.contains(item.index)) return {};
    ItemText text;
    if (item.index == 0) text.declare.emplace_back("T");
    if (!lines_[item.index].empty()) text.rules.push_back(lines_[item.index]);
    return text;
  }
  [[nodiscard]] std::uint32_t phase(Item item) const override { return item.kind; }
  [[nodiscard]] bool divisible(std::uint32_t) const override { return can_divide; }
  [[nodiscard]] std::string label(Item item) const override { return fmt::format("item {}", item.index); }
  bool exclude(Item item) override { return can_exclude && excluded.insert(item.index).second; }

  std::set<std::uint32_t> excluded;
  bool can_exclude = true;
  bool can_divide = true;
  std::size_t asked = 0;

 private:
  std::vector<std::string> lines_;
};

std::string good(int port) {
  return fmt::format("-A T -p tcp -m tcp --dport {} -j RETURN", port);
}
constexpr const char* kRefusedByTool = "-A T -m nosuchmatch -j RETURN";
constexpr const char* kRefusedByKernel =
    "-A T -p tcp -j REJECT";  // xt_REJECT is for filter only; the tool does not know that

std::vector<Block> one_item_blocks(Table table, std::uint32_t count) {
  std::vector<Block> blocks;
  for (std::uint32_t i = 0; i < count; ++i) blocks.push_back({table, {{0, i}}});
  return blocks;
}

std::vector<Block> one_block(Table table, std::uint32_t count) {
  Block block{table, {}};
  for (std::uint32_t i = 0; i < count; ++i) block.items.push_back({0, i});
  return {block};
}

class RestoreScriptTest : public testing::TestWithParam<const char*> {
 protected:
  [[nodiscard]] Tool tool() const { return tool_for(Family::kIPv4, GetParam()); }
};
std::string flavour_name(const testing::TestParamInfo<const char*>& flavour) {
  return flavour.param;
}
INSTANTIATE_TEST_SUITE_P(All, RestoreScriptTest, testing::Values("nft", "legacy"), flavour_name);

TEST_P(RestoreScriptTest, AppliesAndCounts) {
  in_fresh_netns([this] {
    Lines lines({"", good(1), good(2)});
    ApplyStats stats;
    const auto done = run_script(tool(), one_block(Table::kNat, 3), lines, stats);
    ASSERT_TRUE(done) << done.error().what;
    EXPECT_EQ(stats.rules_written, 2u);
    EXPECT_EQ(stats.chains_written, 1u);
    EXPECT_EQ(stats.kernel_transactions, 1u);
    EXPECT_EQ(lines_with(saved_lines(tool()), "nat -A T ").size(), 2u);
  });
}

TEST_P(RestoreScriptTest, NothingToDoStartsNoProgram) {
  Lines lines({});
  ApplyStats stats;
  Tool absent;
  absent.restore = "sluice-no-such-program";
  EXPECT_TRUE(run_script(absent, {}, lines, stats));
}

TEST_P(RestoreScriptTest, RefusedItemsAreLeftOutAndNamed) {
  for (const char* refused : {kRefusedByTool, kRefusedByKernel}) {
    for (const bool as_one_block : {true, false}) {
      SCOPED_TRACE(fmt::format("{} {}", refused, as_one_block));
      in_fresh_netns([&] {
        std::vector<std::string> rules{""};
        for (int i = 1; i < 40; ++i) rules.push_back(i == 7 || i == 30 ? refused : good(i));
        Lines lines(rules);
        ApplyStats stats;
        const auto done = run_script(
            tool(), as_one_block ? one_block(Table::kNat, 40) : one_item_blocks(Table::kNat, 40), lines, stats);
        ASSERT_FALSE(done);
        EXPECT_EQ(done.error().code, Errc::kInvalid);
        EXPECT_THAT(done.error().what, HasSubstr("item 7 is refused"));
        EXPECT_THAT(done.error().what, HasSubstr("item 30 is refused"));
        EXPECT_THAT(done.error().what, HasSubstr("all else is applied"));
        EXPECT_EQ(lines_with(saved_lines(tool()), "nat -A T ").size(), 37u);
        EXPECT_EQ(stats.rules_written, 37u);
        EXPECT_EQ(lines.excluded.size(), 2u);
      });
    }
  }
}

TEST_P(RestoreScriptTest, WhatCannotBeLeftOutEndsTheRun) {
  in_fresh_netns([this] {
    Lines lines({"", good(1), kRefusedByTool, good(3)});
    lines.can_exclude = false;
    ApplyStats stats;
    const auto done = run_script(tool(), one_item_blocks(Table::kNat, 4), lines, stats);
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().what, HasSubstr("item 2 is refused"));
    EXPECT_THAT(done.error().what, Not(HasSubstr("all else is applied")));
    EXPECT_EQ(lines_with(saved_lines(tool()), "nat -A T ").size(), 1u) << "what came before is committed";
    EXPECT_EQ(stats.kernel_transactions, 2u);
  });
}

TEST_P(RestoreScriptTest, ABlockThatCannotBeCutFailsAsAWhole) {
  in_fresh_netns([this] {
    if (tool().flavour == Flavour::kNft) return;  // names the line of a kernel's refusal, so needs no cutting
    Lines lines({"", good(1), kRefusedByKernel});
    lines.can_divide = false;
    ApplyStats stats;
    EXPECT_FALSE(run_script(tool(), one_block(Table::kNat, 3), lines, stats));
    EXPECT_EQ(stats.kernel_transactions, 0u);
  });
}

TEST_P(RestoreScriptTest, GivesUpWhereEverythingIsRefused) {
  in_fresh_netns([this] {
    std::vector<std::string> rules{""};
    for (int i = 0; i < 200; ++i) rules.emplace_back(kRefusedByKernel);
    Lines lines(rules);
    ApplyStats stats;
    const auto done = run_script(tool(), one_block(Table::kNat, 201), lines, stats);
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().what, HasSubstr("gave up"));
    EXPECT_LE(lines.excluded.size(), 32u);
  });
}

TEST_P(RestoreScriptTest, LargeBlocksAreMadeAgainRatherThanKept) {
  in_fresh_netns([this] {
    std::vector<std::string> rules{""};
    for (int i = 1; i <= 2000; ++i) rules.push_back(good(i));
    Lines lines(rules);
    ApplyStats stats;
    const auto done = run_script(tool(), one_block(Table::kNat, 2001), lines, stats);
    ASSERT_TRUE(done) << done.error().what;
    EXPECT_EQ(lines.asked, 2 * 2001u);
    EXPECT_EQ(lines_with(saved_lines(tool()), "nat -A T ").size(), 2000u);
  });
}

}  // namespace
}  // namespace sluice::dataplane::iptables
