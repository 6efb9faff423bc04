// SPDX-License-Identifier: Apache-2.0
#include "dataplane/iptables/tool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "dataplane/iptables/test_netns.h"
#include "dataplane/iptables/test_programs.h"

namespace sluice::dataplane::iptables {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class Nothing : public SaveVisitor {
  void begin() override {}
  void chain(std::string_view, std::string_view) override {}
  void rule(std::string_view, std::string_view, std::string_view) override {}
};

std::string legacy_tables() {
  std::ifstream file("/proc/thread-self/net/ip_tables_names");
  return {std::istreambuf_iterator<char>(file), {}};
}

Flavour auto_flavour() {
  return tool_for(Family::kIPv4, "auto").flavour;
}

TEST(Tool, BothFlavoursAreFoundByName) {
  for (const Family family : kFamilies) {
    for (const char* flavour : {"nft", "legacy"}) {
      const Tool tool = tool_for(family, flavour);
      EXPECT_EQ(to_string(tool.flavour), flavour);
      EXPECT_EQ(tool.restore,
                fmt::format("{}-{}-restore", family == Family::kIPv4 ? "iptables" : "ip6tables", flavour));
      EXPECT_TRUE(tool.newer_than_1_6_2()) << tool.version[0] << "." << tool.version[1] << "." << tool.version[2];
    }
  }
}

TEST(Tool, WithoutProgramsThePackageIsNamed) {
  const Programs programs(true);
  for (const char* flavour : {"auto", "nft", "legacy"}) {
    const auto tool = find_tool(Family::kIPv6, flavour_named(flavour));
    ASSERT_FALSE(tool) << flavour;
    EXPECT_EQ(tool.error().code, Errc::kUnsupported) << flavour;
    EXPECT_THAT(tool.error().what, HasSubstr("ip6tables")) << flavour;
    EXPECT_THAT(tool.error().what, HasSubstr("install the package iptables")) << flavour;
  }
  EXPECT_THAT(installed_tools(Family::kIPv4), IsEmpty());
}

TEST(Tool, PlainNamesServeWhereThereIsOneFlavourOnly) {
  struct Row {
    const char* answer;
    Flavour flavour;
    bool modern;
  };
  for (const Row& row :
       {Row{"iptables v1.8.11 (nf_tables)", Flavour::kNft, true},
        Row{"iptables v1.8.2 (legacy)", Flavour::kLegacy, true}, Row{"iptables v1.6.1", Flavour::kLegacy, false},
        Row{"iptables v1.4.21", Flavour::kLegacy, false}}) {
    Programs programs(true);
    programs.add("iptables", fmt::format("echo '{}'", row.answer));
    const Tool tool = tool_for(Family::kIPv4, "auto");
    EXPECT_EQ(tool.command, "iptables") << row.answer;
    EXPECT_EQ(tool.restore, "iptables-restore") << row.answer;
    EXPECT_EQ(tool.flavour, row.flavour) << row.answer;
    EXPECT_EQ(tool.newer_than_1_6_2(), row.modern) << row.answer;
    EXPECT_EQ(find_tool(Family::kIPv4, row.flavour == Flavour::kNft ? Flavour::kLegacy : Flavour::kNft).error().code,
              Errc::kUnsupported)
        << row.answer;
  }
}

TEST(Tool, FlavourIsWhatThisNodeUses) {
  struct Row {
    const char* name;
    const char* flavour;  // which program prepares
    const char* input;
    const char* competing;  // what the other flavour holds
    const char* expected;
  };
  const char* const many = "*filter\n-A INPUT -j ACCEPT\n-A INPUT -j ACCEPT\n-A INPUT -j ACCEPT\nCOMMIT\n";
  const char* const few = "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n";
  const std::vector<Row> rows{
      {"kubelet's hint in legacy", "legacy", "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n", many, "legacy"},
      {"kubelet's canary in nft", "nft", "*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n", many, "nft"},
      {"a proxy's canary in legacy", "legacy", "*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n", many, "legacy"},
      {"more rules in legacy", "legacy", many, few, "legacy"},
      {"more rules in nft", "nft", many, few, "nft"},
      {"kubelet before proxy", "nft", "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n",
       "*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n", "nft"},
      {"chains of Kubernetes before many rules", "legacy", "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n", many, "legacy"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    in_fresh_netns([&] {
      const std::string other = std::string(row.flavour) == "nft" ? "legacy" : "nft";
      run({fmt::format("iptables-{}-restore", row.flavour), "--noflush"}, row.input);
      run({fmt::format("iptables-{}-restore", other), "--noflush"}, row.competing);
      EXPECT_EQ(to_string(auto_flavour()), row.expected);
    });
  }
}

TEST(Tool, TheOtherFamilyCountsIfTheOwnShowsNothing) {
  struct Row {
    const char* name;
    const char* other;  // what IPv4 holds in legacy
    const char* own;    // what IPv6 holds in nft
    const char* expected;
  };
  const char* const hint = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n";
  const char* const canary = "*mangle\n:KUBE-PROXY-CANARY - [0:0]\nCOMMIT\n";
  for (const Row& row : {Row{"kubelet's hint", hint, "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n", "legacy"},
                         Row{"a proxy's canary", canary, "", "legacy"},
                         Row{"kubelet's hint before one's own canary", hint, canary, "legacy"},
                         Row{"one's own hint first", hint, hint, "nft"}}) {
    SCOPED_TRACE(row.name);
    in_fresh_netns([&] {
      run({"iptables-legacy-restore", "--noflush"}, row.other);
      run({"ip6tables-nft-restore", "--noflush"}, row.own);
      EXPECT_EQ(to_string(tool_for(Family::kIPv6, "auto").flavour), row.expected);
    });
  }
}

// The legacy programs wait for one lock per machine. A process that holds it for minutes must not make a family look as
// if the kernel lacked it, nor delay the check of the canary.
TEST(Tool, ReadingDoesNotWaitForTheLock) {
  in_fresh_netns([] {
    const Tool tool = tool_for(Family::kIPv4, "legacy");
    const char* const lock = std::getenv("XTABLES_LOCKFILE");  // test_main.cc's
    ASSERT_NE(lock, nullptr);
    const int file = ::open(lock, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    ASSERT_EQ(::flock(file, LOCK_EX), 0);
    const auto held = restore(tool, [asked = false]() mutable {
      return std::exchange(asked, true) ? std::string_view() : std::string_view("*nat\nCOMMIT\n");
    });
    EXPECT_EQ(held.error().code, Errc::kUnavailable) << "the lock of this test is not the one that the tool takes";
    const auto before = probe(tool);
    EXPECT_TRUE(before) << before.error().what;
    ::close(file);
    run({"iptables-legacy", "-t", "mangle", "-N", std::string(kCanaryChain)});
    const int again = ::open(lock, O_RDWR | O_CLOEXEC);
    ASSERT_EQ(::flock(again, LOCK_EX), 0);
    const auto loaded = probe(tool);
    EXPECT_TRUE(loaded) << loaded.error().what;
    const auto canary = chain_exists(tool, Table::kMangle, kCanaryChain);
    ASSERT_TRUE(canary) << canary.error().what;
    EXPECT_TRUE(*canary);
    const auto missing = chain_exists(tool, Table::kMangle, "KUBE-OTHER");
    ASSERT_TRUE(missing) << missing.error().what;
    EXPECT_FALSE(*missing);
    ::close(again);
  });
}

TEST(Tool, WithoutProgramsRulesAreSuspectedOnlyWhereThereMayBeSome) {
  struct Row {
    const char* name;
    std::vector<std::string> command;
    bool suspected;
  };
  for (const Row& row :
       {Row{"nothing", {"true"}, false}, Row{"foreign chains", {"iptables-nft", "-t", "nat", "-N", "MINE"}, false},
        Row{"our chains", {"iptables-nft", "-t", "nat", "-N", "KUBE-SERVICES"}, true},
        Row{"a legacy table", {"iptables-legacy", "-t", "nat", "-N", "MINE"}, true}}) {
    SCOPED_TRACE(row.name);
    in_fresh_netns([&] {
      run(row.command);
      EXPECT_EQ(rules_without_programs(Family::kIPv4), row.suspected);
      EXPECT_FALSE(rules_without_programs(Family::kIPv6));
    });
  }
}

TEST(Tool, ReadingCreatesNoTable) {
  in_fresh_netns([] {
    const Flavour flavour = auto_flavour();
    EXPECT_EQ(flavour,
              run({"iptables", "--version"}).find("nf_tables") != std::string::npos ? Flavour::kNft : Flavour::kLegacy);
    for (const char* each : {"nft", "legacy"}) {
      const Tool tool = tool_for(Family::kIPv4, each);
      EXPECT_FALSE(*chain_exists(tool, Table::kMangle, kCanaryChain));
      EXPECT_THAT(saved_lines(tool), IsEmpty());
    }
    EXPECT_EQ(legacy_tables(), "");
    EXPECT_EQ(run({"nft", "list", "tables"}), "");
  });
}

TEST(Tool, ProbeSaysWhyAFamilyIsNotServed) {
  in_fresh_netns([] {
    EXPECT_TRUE(probe(tool_for(Family::kIPv6, "nft")));
    run({"sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"});
    const auto off = probe(tool_for(Family::kIPv6, "nft"));
    ASSERT_FALSE(off);
    EXPECT_EQ(off.error().code, Errc::kUnsupported);
    EXPECT_THAT(off.error().what, HasSubstr("disable_ipv6"));
    EXPECT_TRUE(probe(tool_for(Family::kIPv4, "legacy")));
  });
  Programs programs(false);
  programs.add("iptables-broken", "echo 'no table nat here' >&2; exit 3");
  const auto broken = probe(Tool{Family::kIPv4, Flavour::kNft, "iptables-broken", "", "", {}});
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, Errc::kUnsupported);
  EXPECT_THAT(broken.error().what, HasSubstr("no table nat here"));
}

TEST(Tool, RestoreOutcomesByStatusAndLine) {
  struct Row {
    const char* name;
    const char* script;
    bool is_error;
    Errc code;
    std::size_t line;
  };
  const std::vector<Row> rows{
      {"lock",
       "echo 'Another app is currently holding the xtables lock; still 4s 0us time ahead to have a chance to grab the "
       "lock...' >&2; exit 4",
       true, Errc::kUnavailable, 0},
      {"refused by the kernel, nft",
       "echo 'iptables-restore v1.8.9 (nf_tables): ' >&2; echo 'line 3: RULE_APPEND failed (Invalid argument)' >&2; "
       "exit 4",
       false, Errc::kInternal, 3},
      {"refused by the kernel, legacy", "echo 'iptables-restore: line 17 failed' >&2; exit 1", false, Errc::kInternal,
       17},
      {"refused by the tool",
       "echo \"iptables-restore v1.8.9: Couldn't load match \\`x'\" >&2; echo 'Error occurred at line: 5' >&2; exit 2",
       false, Errc::kInternal, 5},
      {"killed", "kill -KILL $$", true, Errc::kInternal, 0},
      {"no line", "echo 'unable to initialize table nat' >&2; exit 1", true, Errc::kInternal, 0},
  };
  for (const Row& row : rows) {
    Programs programs(false);
    programs.add("iptables-fake-restore", row.script);
    bool asked = false;
    const auto outcome = restore(
        Tool{Family::kIPv4, Flavour::kNft, "", "", "iptables-fake-restore", {1, 8, 9}},
        [&asked] { return std::exchange(asked, true) ? std::string_view() : std::string_view("*nat\nCOMMIT\n"); });
    EXPECT_EQ(!outcome, row.is_error) << row.name;
    if (!outcome) {
      EXPECT_EQ(outcome.error().code, row.code) << row.name << ": " << outcome.error().what;
      continue;
    }
    EXPECT_FALSE(outcome->ok) << row.name;
    EXPECT_EQ(outcome->line, row.line) << row.name;
  }
}

TEST(Tool, RestoreIsCalledAsByKubeProxy) {
  Programs programs(false);
  programs.add("iptables-fake-restore", "echo \"line 1: $*\" >&2; exit 1");
  for (const auto& [version, arguments] : std::vector<std::pair<std::array<unsigned, 3>, std::string>>{
           {{1, 8, 9}, "line 1: -w 5 --noflush --counters"}, {{1, 6, 1}, "line 1: --noflush --counters"}}) {
    const auto outcome = restore(Tool{Family::kIPv4, Flavour::kLegacy, "", "", "iptables-fake-restore", version},
                                 [] { return std::string_view(); });
    ASSERT_TRUE(outcome) << outcome.error().what;
    EXPECT_EQ(outcome->message, arguments);
  }
}

TEST(Tool, ATableThatIptablesCannotShowIsNotTakenForEmpty) {
  Programs programs(false);
  programs.add("iptables-fake-save", "echo \"# Table \\`nat' is incompatible, use 'nft' tool.\"");
  Nothing nothing;
  const auto read = read_live(Tool{Family::kIPv4, Flavour::kNft, "", "iptables-fake-save", "", {}}, nothing);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Errc::kUnsupported);
  EXPECT_THAT(read.error().what, HasSubstr("table nat"));
}

TEST(Tool, FailedListingIsAnErrorAndNotAnEmptyTable) {
  Programs programs(false);
  programs.add("iptables-fake-save", "echo '*nat'; echo 'Permission denied' >&2; exit 1");
  Nothing nothing;
  const auto read = read_live(Tool{Family::kIPv4, Flavour::kNft, "", "iptables-fake-save", "", {}}, nothing);
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().what, HasSubstr("Permission denied"));
}

}  // namespace
}  // namespace sluice::dataplane::iptables
