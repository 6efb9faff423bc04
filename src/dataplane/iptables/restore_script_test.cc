// SPDX-License-Identifier: Apache-2.0
#include "dataplane/iptables/restore_script.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
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
    EXPECT_LE(lines.excluded.size(), 128u);
  });
}

TEST_P(RestoreScriptTest, EveryItemIsGeneratedOnce) {
  in_fresh_netns([this] {
    std::vector<std::string> rules{""};
    for (int i = 1; i <= 2000; ++i) rules.push_back(good(i));
    Lines lines(rules);
    ApplyStats stats;
    const auto done = run_script(tool(), one_block(Table::kNat, 2001), lines, stats);
    ASSERT_TRUE(done) << done.error().what;
    EXPECT_EQ(lines.asked, 2001u);
    EXPECT_EQ(lines_with(saved_lines(tool()), "nat -A T ").size(), 2000u);
  });
}

// Items that each make two chains and write to both in turn.
class Chains : public ItemSource {
 public:
  explicit Chains(std::vector<std::string> names) : names_(std::move(names)) {}
  ItemText text(Item item) override {
    if (excluded.contains(item.index)) return {};
    const std::string& name = names_[item.index];
    ItemText text;
    text.declare = {name, name + "-B"};
    text.rules = {fmt::format("-A {} -p tcp -j RETURN", name), fmt::format("-A {}-B -p tcp -j RETURN", name),
                  fmt::format("-A {} -p udp -j RETURN", name)};
    if (item.index == refused) text.rules.push_back(fmt::format("-A {} -m nosuchmatch -j RETURN", name));
    return text;
  }
  [[nodiscard]] std::uint32_t phase(Item item) const override { return item.kind; }
  [[nodiscard]] bool divisible(std::uint32_t) const override { return true; }
  [[nodiscard]] std::string label(Item item) const override { return "chain " + names_[item.index]; }
  bool exclude(Item item) override { return excluded.insert(item.index).second; }

  std::set<std::uint32_t> excluded;
  std::optional<std::uint32_t> refused;

 private:
  std::vector<std::string> names_;
};

TEST_P(RestoreScriptTest, ChainsAreDeclaredInDescendingOrderAndFilledOneByOne) {
  in_fresh_netns([this] {
    // The real program, and a copy of its input.
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / fmt::format("sluice-restore-{}", getpid());
    std::filesystem::create_directories(folder);
    Tool copying = tool();
    std::ofstream(folder / "restore") << "#!/bin/sh\ntee " << (folder / "input").string() << " | " << copying.restore
                                      << " \"$@\"\n";
    std::filesystem::permissions(folder / "restore", std::filesystem::perms::owner_all);
    copying.restore = folder / "restore";
    Chains chains({"M", "Z", "A"});
    ApplyStats stats;
    const auto done = run_script(copying, one_block(Table::kNat, 3), chains, stats);
    std::ifstream input(folder / "input");
    const std::string text{std::istreambuf_iterator<char>(input), {}};
    std::filesystem::remove_all(folder);
    ASSERT_TRUE(done) << done.error().what;
    EXPECT_EQ(text,
              "*nat\n:Z-B - [0:0]\n:Z - [0:0]\n:M-B - [0:0]\n:M - [0:0]\n:A-B - [0:0]\n:A - [0:0]\n"
              "-A A -p tcp -j RETURN\n-A A -p udp -j RETURN\n-A A-B -p tcp -j RETURN\n"
              "-A M -p tcp -j RETURN\n-A M -p udp -j RETURN\n-A M-B -p tcp -j RETURN\n"
              "-A Z -p tcp -j RETURN\n-A Z -p udp -j RETURN\n-A Z-B -p tcp -j RETURN\nCOMMIT\n");
    EXPECT_EQ(stats.rules_written, 9u);
    EXPECT_EQ(stats.chains_written, 6u);
  });
}

TEST_P(RestoreScriptTest, ABlockOfManyPartsIsOneTransaction) {
  in_fresh_netns([this] {
    std::vector<std::string> names;
    for (int i = 0; i < 3000; ++i) names.push_back(fmt::format("C{}", i * 7919 % 3000));
    Chains chains(names);
    chains.refused = 2990;
    ApplyStats stats;
    const auto done = run_script(tool(), one_block(Table::kNat, 3000), chains, stats);
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().what, HasSubstr(fmt::format("chain {} is refused", names[2990])));
    EXPECT_EQ(chains.excluded, std::set<std::uint32_t>{2990});
    EXPECT_EQ(stats.kernel_transactions, 1u);
    EXPECT_EQ(stats.rules_written, 2999 * 3u);
    EXPECT_EQ(stats.chains_written, 2999 * 2u);
    EXPECT_EQ(lines_with(saved_lines(tool()), "nat -A C").size(), 2999 * 3u);
  });
}

TEST_P(RestoreScriptTest, ALineIsTracedToItsItemWhereverItsChainIs) {
  for (std::uint32_t refused = 0; refused < 3; ++refused) {
    in_fresh_netns([&] {
      const std::vector<std::string> names{"M", "Z", "A"};
      Chains chains(names);
      chains.refused = refused;
      ApplyStats stats;
      const auto done = run_script(tool(), one_block(Table::kNat, 3), chains, stats);
      ASSERT_FALSE(done);
      EXPECT_THAT(done.error().what, HasSubstr(fmt::format("chain {} is refused", names[refused])));
      EXPECT_THAT(done.error().what, HasSubstr(fmt::format("-A {} -m nosuchmatch", names[refused])));
      EXPECT_EQ(chains.excluded, std::set<std::uint32_t>{refused});
      EXPECT_EQ(lines_with(saved_lines(tool()), "nat -A ").size(), 6u);
    });
  }
}

}  // namespace
}  // namespace sluice::dataplane::iptables
