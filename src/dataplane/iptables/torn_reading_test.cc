// SPDX-License-Identifier: Apache-2.0
// iptables-nft-save lists a chain in parts. If it is rewritten in between, rules are listed twice or not at all.
#include <gmock/gmock.h>

#include "dataplane/iptables/iptables_data_plane.h"
#include "dataplane/iptables/test_netns.h"
#include "dataplane/iptables/test_plans.h"
#include "dataplane/iptables/test_programs.h"

namespace sluice::dataplane::iptables {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

class Told : public SaveVisitor {
 public:
  void begin() override { chains.clear(); }
  void chain(std::string_view, std::string_view name) override { chains.emplace_back(name); }
  void rule(std::string_view, std::string_view, std::string_view) override {}
  std::vector<std::string> chains;
};

// Counts its calls in the file "calls", and in the first `torn` of them changes the tables.
std::string torn_save(const Programs& programs, int torn, const std::string& answer) {
  return fmt::format(
      "calls=$(($(cat {0}/calls 2>/dev/null || echo 0) + 1)); echo $calls > {0}/calls\n"
      "[ $calls -gt {1} ] || nft add table ip change$calls\n{2}",
      programs.folder(), torn, answer);
}

TEST(TornReading, IsReadAgain) {
  in_fresh_netns([] {
    Programs programs(false);
    programs.add("iptables-fake-save", torn_save(programs, 2, "echo '*nat'; echo \":CALL$calls - [0:0]\""));
    Told told;
    const auto read = read_live(Tool{Family::kIPv4, Flavour::kNft, "", "iptables-fake-save", "", {}}, told);
    ASSERT_TRUE(read) << read.error().what;
    EXPECT_THAT(told.chains, ElementsAre("CALL3"));
  });
}

TEST(TornReading, IsUsedAsItIsIfTheTablesChangeAllTheTime) {
  in_fresh_netns([] {
    Programs programs(false);
    programs.add("iptables-fake-save", torn_save(programs, 1000, "echo '*nat'; echo \":CALL$calls - [0:0]\""));
    Told told;
    const auto read = read_live(Tool{Family::kIPv4, Flavour::kNft, "", "iptables-fake-save", "", {}}, told);
    ASSERT_TRUE(read) << read.error().what;
    EXPECT_THAT(told.chains, SizeIs(1));
  });
}

TEST(TornReading, CostsNoRule) {
  in_fresh_netns([] {
    Options options;
    options.flavour = Flavour::kNft;
    Changes changes;
    changes.full = true;
    changes.ports.push_back({nullptr, shared(worked_example())});
    const auto first = IptablesDataPlane::open(options);
    ASSERT_TRUE(first) << first.error().what;
    ASSERT_TRUE((*first)->apply(changes));
    const Tool tool = tool_for(Family::kIPv4, "nft");
    const std::vector<std::string> before = saved_lines(tool);

    const auto second = IptablesDataPlane::open(options);
    ASSERT_TRUE(second) << second.error().what;
    Programs programs(false);
    const std::string real = "PATH=${PATH#*:} iptables-nft-save \"$@\"";
    programs.add("iptables-nft-save", torn_save(programs, 1,
                                                "if [ $calls -gt 1 ]; then " + real + "; else " + real +
                                                    " | sed '/-A KUBE-SERVICES/p; /-A KUBE-SVC-/d'; fi"));
    const auto applied = (*second)->apply(changes);
    ASSERT_TRUE(applied) << applied.error().what;
    EXPECT_EQ(applied->stats.rules_written, 0u);
    EXPECT_EQ(saved_lines(tool), before);
  });
}

}  // namespace
}  // namespace sluice::dataplane::iptables
