// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/helper_table.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "dataplane/ipvs/helper_test_net.h"

namespace sluice::dataplane::ipvs {
namespace {

using plan::LocalDetector;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// Something in every set.
HelperElements elements_of(Family family) {
  HelperElements e;
  const bool v4 = family == Family::kIPv4;
  const char* cluster_ip = v4 ? "10.96.0.10" : "fd00:96::10";
  const char* balancer = v4 ? "203.0.113.7" : "2001:db8:1::7";
  const char* local = v4 ? "203.0.113.8" : "2001:db8:1::8";
  e.cluster_ips = {udp(cluster_ip, 53), tcp(cluster_ip, 53), {ip(cluster_ip), Protocol::kSctp, 9}};
  e.masqueraded = {tcp(balancer, 443)};
  e.unmasqueraded = {tcp(local, 80)};
  e.masqueraded_node_ports = {{Protocol::kTcp, 30443}, {Protocol::kUdp, 30053}};
  e.unmasqueraded_node_ports = {{Protocol::kTcp, 30444}};
  e.firewalled = {tcp(balancer, 443)};
  for (const char* range : v4 ? std::vector<const char*>{"198.51.100.0/24", "192.0.2.1/32", "0.0.0.0/5"}
                              : std::vector<const char*>{"2001:db8:2::/48", "2001:db8:3::1/128", "::/5"}) {
    e.source_ranges.insert({tcp(balancer, 443), cidr(range)});
  }
  e.service_addresses = {ip(cluster_ip), ip(balancer), ip(local)};
  e.health_check_ports = {32123};
  e.local_real_servers = {ip(v4 ? "10.244.1.9" : "fd00:244::9")};
  return e;
}

HelperSettings settings_of(Family family) {
  const char* pods = family == Family::kIPv4 ? "10.244.0.0/15" : "fd00:244::/63";
  return {.family = family, .masquerade = {.detector = by_cidr(pods), .masquerade_all = false}};
}

std::vector<std::string> all_lines(const Difference& difference) {
  std::vector<std::string> lines;
  for (const std::string& line : difference.missing) lines.push_back("- " + line);
  for (const std::string& line : difference.unexpected) lines.push_back("+ " + line);
  return lines;
}

std::vector<std::string> compared(HelperTable& table, const HelperElements& wanted) {
  const auto difference = table.compare(wanted);
  if (difference) return all_lines(*difference);
  return {difference.error().what};
}

class HelperTableOf : public testing::TestWithParam<Family> {
 protected:
  Family family_ = GetParam();
  std::string name_ = nft_name(family_) + " sluice-ipvs";
};
INSTANTIATE_TEST_SUITE_P(Families, HelperTableOf, testing::ValuesIn(kFamilies),
                         [](const auto& family) { return std::string(to_string(family.param)); });

TEST_P(HelperTableOf, IsWhatNftPrintsForEachLocalDetector) {
  struct Row {
    const char* name;
    plan::MasqueradePolicy policy;
  };
  const Cidr pods = cidr(family_ == Family::kIPv4 ? "10.244.0.0/15" : "fd00:244::/63");
  const std::vector<Row> rows{
      {"none", {}},
      {"cidr", {.detector = {LocalDetector::Kind::kCidr, pods, ""}}},
      {"interface", {.detector = {LocalDetector::Kind::kInterface, {}, "cbr0"}}},
      {"interface-prefix", {.detector = {LocalDetector::Kind::kInterfacePrefix, {}, "cali"}}},
      {"all", {.detector = {LocalDetector::Kind::kCidr, pods, ""}, .masquerade_all = true}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    in_fresh_netns([&] {
      const auto table = open_table({.family = family_, .masquerade = row.policy, .masquerade_bit = 14});
      ASSERT_NE(table, nullptr);
      EXPECT_GT(written(table->replace(elements_of(family_))), 0);
      expect_golden(fmt::format("{}.{}.nft", row.name, nft_name(family_)), listed(family_));
      EXPECT_TRUE(*table->intact());
      EXPECT_THAT(compared(*table, elements_of(family_)), IsEmpty());
    });
  }
}

TEST_P(HelperTableOf, ReplacingWhatIsRightWritesNothing) {
  in_fresh_netns([this] {
    const HelperElements wanted = elements_of(family_);
    const auto table = open_table(settings_of(family_));
    // 10 sets, the rules, 17 elements: 0.0.0.0/5 and the like are in no other range.
    EXPECT_EQ(written(table->replace(wanted)), static_cast<long>(10 + table->rules() + 17));
    const std::string before = run({"nft", "-a", "list", "ruleset"});
    EXPECT_EQ(written(table->replace(wanted)), 0);
    // A fresh process knows nothing and finds all of it.
    EXPECT_EQ(written(open_table(settings_of(family_))->replace(wanted)), 0);
    EXPECT_EQ(run({"nft", "-a", "list", "ruleset"}), before) << "with handles: nothing was rewritten";
  });
}

TEST_P(HelperTableOf, ReplacingWritesOnlyTheElementsThatDiffer) {
  in_fresh_netns([this] {
    HelperElements wanted = elements_of(family_);
    const auto table = open_table(settings_of(family_));
    written(table->replace(wanted));
    wanted.cluster_ips.erase(wanted.cluster_ips.begin());
    wanted.health_check_ports.insert(32124);
    EXPECT_EQ(written(table->replace(wanted)), 2);
    EXPECT_THAT(compared(*table, wanted), IsEmpty());
    EXPECT_EQ(written(table->replace({})), 17) << "all that were left, and no rules";
    EXPECT_THAT(listed(family_), Not(HasSubstr("elements")));
  });
}

TEST_P(HelperTableOf, OtherRulesReplaceTheTableAsAWhole) {
  in_fresh_netns([this] {
    const HelperElements wanted = elements_of(family_);
    written(open_table(settings_of(family_))->replace(wanted));
    const auto other = open_table({.family = family_, .masquerade = {}, .masquerade_bit = 15});
    EXPECT_FALSE(*other->intact());
    EXPECT_EQ(written(other->replace(wanted)), static_cast<long>(10 + other->rules() + 17));
    EXPECT_TRUE(*other->intact());
    EXPECT_THAT(compared(*other, wanted), IsEmpty());
    EXPECT_THAT(listed(family_), HasSubstr("0x00008000"));
  });
}

TEST_P(HelperTableOf, ChangesAddAndRemoveElements) {
  in_fresh_netns([this] {
    const auto table = open_table(settings_of(family_));
    written(table->replace({}));
    const HelperElements all = elements_of(family_);
    EXPECT_EQ(written(table->change(all, {})), 17);
    EXPECT_THAT(compared(*table, all), IsEmpty());
    HelperElements one;
    one.cluster_ips = {*all.cluster_ips.begin()};
    HelperElements port;
    port.health_check_ports = {1};
    EXPECT_EQ(written(table->change(port, one)), 2);
    HelperElements wanted = all;
    wanted.cluster_ips.erase(wanted.cluster_ips.begin());
    wanted.health_check_ports.insert(1);
    EXPECT_THAT(compared(*table, wanted), IsEmpty());
    EXPECT_EQ(written(table->change({}, wanted)), 17);
    EXPECT_THAT(compared(*table, {}), IsEmpty());
    EXPECT_EQ(written(table->change({}, {})), 0);
    EXPECT_TRUE(*table->intact());
  });
}

TEST_P(HelperTableOf, AddingAnExistingAndRemovingAMissingElementIsNoError) {
  in_fresh_netns([this] {
    const auto table = open_table(settings_of(family_));
    const HelperElements all = elements_of(family_);
    written(table->replace(all));
    EXPECT_GE(written(table->change(all, {})), 0);
    EXPECT_THAT(compared(*table, all), IsEmpty());
    // Another program has emptied a set: of the elements to remove, some exist and some do not.
    nft(fmt::format("flush set {0} cluster-ips\nflush set {0} source-ranges", name_));
    EXPECT_GE(written(table->change({}, all)), 0);
    EXPECT_THAT(compared(*table, {}), IsEmpty());
    EXPECT_GE(written(table->change({}, all)), 0);
    EXPECT_THAT(compared(*table, {}), IsEmpty());
  });
}

TEST_P(HelperTableOf, WhatIsBothAddedAndRemovedStays) {
  in_fresh_netns([this] {
    const auto table = open_table(settings_of(family_));
    const HelperElements all = elements_of(family_);
    written(table->replace({}));
    EXPECT_EQ(written(table->change(all, all)), 17);
    EXPECT_THAT(compared(*table, all), IsEmpty());
  });
}

// A wide range makes those in it superfluous as long as it exists.
TEST_P(HelperTableOf, RangesMayContainEachOther) {
  const bool v4 = family_ == Family::kIPv4;
  const ServedAddress to = tcp(v4 ? "203.0.113.7" : "2001:db8::7", 443);
  const ServedAddress other = tcp(v4 ? "203.0.113.9" : "2001:db8::9", 443);
  const auto ranges = [&](std::initializer_list<const char*> texts) {
    HelperElements e;
    for (const char* text : texts) e.source_ranges.insert({to, cidr(text)});
    e.source_ranges.insert({other, cidr(v4 ? "10.1.2.0/24" : "fd01:2:3::/48")});
    return e;
  };
  const auto only = [&](const char* text) {
    HelperElements e;
    e.source_ranges.insert({to, cidr(text)});
    return e;
  };
  const char* wide = v4 ? "10.0.0.0/8" : "fd00::/8";
  const char* middle = v4 ? "10.1.0.0/16" : "fd01::/16";
  const char* narrow = v4 ? "10.1.2.3/32" : "fd01::3/128";
  in_fresh_netns([&] {
    const auto table = open_table(settings_of(family_));
    EXPECT_GT(written(table->replace(ranges({wide, middle}))), 0);
    EXPECT_THAT(compared(*table, ranges({wide})), IsEmpty()) << "the narrower one adds nothing";
    EXPECT_EQ(written(table->change(only(narrow), {})), 0);
    EXPECT_EQ(written(table->change({}, only(wide))), 2) << "one is removed, another appears";
    EXPECT_THAT(compared(*table, ranges({middle})), IsEmpty());
    EXPECT_EQ(written(table->change({}, only(middle))), 2);
    EXPECT_THAT(compared(*table, ranges({narrow})), IsEmpty());
    EXPECT_EQ(written(table->change(only(wide), {})), 2);
    EXPECT_THAT(compared(*table, ranges({wide, narrow})), IsEmpty());
    EXPECT_EQ(written(table->replace(ranges({narrow}))), 2);
    EXPECT_EQ(written(table->change({}, only(wide))), 0) << "forgotten with the replacement";
    EXPECT_THAT(compared(*table, ranges({narrow})), IsEmpty());
  });
}

TEST_P(HelperTableOf, AChangeBeforeTheFirstReplacementIsRefused) {
  in_fresh_netns([this] {
    const auto changed = open_table(settings_of(family_))->change(elements_of(family_), {});
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().code, Errc::kInvalid);
  });
}

TEST_P(HelperTableOf, AChangeOfATableThatIsGoneFailsAndNamesIt) {
  in_fresh_netns([this] {
    const auto table = open_table(settings_of(family_));
    written(table->replace({}));
    nft("flush ruleset");
    const auto changed = table->change(elements_of(family_), {});
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().code, Errc::kNotFound);
    EXPECT_THAT(changed.error().what, HasSubstr(name_));
    EXPECT_GT(written(table->replace(elements_of(family_))), 16);
    EXPECT_THAT(compared(*table, elements_of(family_)), IsEmpty());
  });
}

// What the caller failed to write is not recorded as written.
TEST_P(HelperTableOf, ARefusedChangeOfRangesLeavesTheKnowledgeOfThem) {
  const bool v4 = family_ == Family::kIPv4;
  HelperElements wide;
  wide.source_ranges.insert({tcp(v4 ? "203.0.113.7" : "2001:db8::7", 443), cidr(v4 ? "10.0.0.0/8" : "fd00::/8")});
  in_fresh_netns([&] {
    const auto table = open_table(settings_of(family_));
    written(table->replace({}));
    const std::string ruleset = run({"nft", "list", "ruleset"});
    nft("flush ruleset");
    EXPECT_FALSE(table->change(wide, {}));
    nft(ruleset);
    EXPECT_EQ(written(table->change(wide, {})), 1);
    EXPECT_THAT(listed(family_), HasSubstr(v4 ? "443 . 10.0.0.0/8" : "443 . fd00::/8"));
  });
}

TEST_P(HelperTableOf, ForeignChangesAreSeenAndRepaired) {
  struct Row {
    const char* name;
    std::string script;
    std::string line;  // one of what compare() says
    bool intact;       // elements are not checked
  };
  const bool v4 = family_ == Family::kIPv4;
  const std::vector<Row> rows{
      {"the table is gone", "delete table " + name_, "- nftables table " + name_, false},
      {"everything is gone", "flush ruleset", "- nftables table " + name_, false},
      {"the table sleeps", fmt::format("add table {} {{ flags dormant; }}", name_), "- nftables table " + name_, false},
      {"a chain is empty", fmt::format("flush chain {} masquerade-postrouting", name_),
       "- rule 2 of chain masquerade-postrouting: ", false},
      {"a rule is added", fmt::format("add rule {} unserved accept", name_), "+ rule 8 of chain unserved: ", false},
      {"a rule is put before", fmt::format("insert rule {} unserved accept", name_),
       "+ rule 1 of chain unserved: ", false},
      {"a rule with a counter", fmt::format("add rule {} services counter", name_),
       "+ rule 5 of chain services: [ counter ", false},
      {"a chain is added", fmt::format("add chain {} mine", name_), "+ nftables chain mine", false},
      {"a set is added", fmt::format("add set {} mine {{ type mark; }}", name_), "+ nftables set mine", false},
      {"a policy is drop", fmt::format("add chain {} filter-input {{ policy drop; }}", name_),
       "- nftables chain filter-input", false},
      {"an element is gone", fmt::format("delete element {} health-check-ports {{ 32123 }}", name_),
       "- element 32123 of nftables set health-check-ports", true},
      {"an element is added", fmt::format("add element {} masqueraded-node-ports {{ sctp . 5 }}", name_),
       "+ element sctp . 5 of nftables set masqueraded-node-ports", true},
      {"a range is added",
       v4 ? "add element ip sluice-ipvs source-ranges { 203.0.113.7 . tcp . 443 . 172.16.0.0/12 }"
          : "add element ip6 sluice-ipvs source-ranges { 2001:db8:1::7 . tcp . 443 . fd00::/8 }",
       v4 ? "+ element 203.0.113.7 . tcp . 443 . 172.16.0.0-172.31.255.255 of nftables set source-ranges"
          : "+ element 2001:db8:1::7 . tcp . 443 . fd00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff of nftables set "
            "source-ranges",
       true},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    in_fresh_netns([&] {
      const auto table = open_table(settings_of(family_));
      const HelperElements wanted = elements_of(family_);
      written(table->replace(wanted));
      nft(row.script);
      EXPECT_EQ(*table->intact(), row.intact);
      EXPECT_THAT(compared(*table, wanted), Contains(HasSubstr(row.line)));
      EXPECT_GT(written(table->replace(wanted)), 0);
      EXPECT_TRUE(*table->intact());
      EXPECT_THAT(compared(*table, wanted), IsEmpty());
    });
  }
}

TEST_P(HelperTableOf, OtherTablesAreLeftAlone) {
  in_fresh_netns([this] {
    const Family other_family = family_ == Family::kIPv4 ? Family::kIPv6 : Family::kIPv4;
    nft(
        fmt::format("table {} other {{\n"
                    " set cluster-ips {{ type inet_service; elements = {{ 1 }} }}\n"
                    " chain services {{ accept; }}\n}}\n",
                    nft_name(family_)));
    written(open_table(settings_of(other_family))->replace(elements_of(other_family)));
    const std::string before = run({"nft", "-a", "list", "ruleset"});
    const auto table = open_table(settings_of(family_));
    written(table->replace(elements_of(family_)));
    EXPECT_TRUE(*table->intact());
    EXPECT_TRUE(*remove_helper_table(family_));
    EXPECT_EQ(run({"nft", "-a", "list", "ruleset"}), before);
  });
}

TEST_P(HelperTableOf, IsRemovedWithItsContents) {
  in_fresh_netns([this] {
    EXPECT_FALSE(*remove_helper_table(family_));
    written(open_table(settings_of(family_))->replace(elements_of(family_)));
    EXPECT_TRUE(*remove_helper_table(family_));
    EXPECT_FALSE(*remove_helper_table(family_));
    EXPECT_THAT(run({"nft", "list", "ruleset"}), IsEmpty());
  });
}

// Far more than fits into one attribute, or into a socket's usual buffer.
TEST_P(HelperTableOf, TakesTwentyThousandElementsInOneTransaction) {
  in_fresh_netns([this] {
    HelperElements many;
    const bool v4 = family_ == Family::kIPv4;
    for (unsigned i = 0; i < 20000; ++i) {
      const IpAddress address = ip(v4 ? fmt::format("10.96.{}.{}", i / 250, i % 250) : fmt::format("fd00:96::{:x}", i));
      many.cluster_ips.insert({address, Protocol::kTcp, 443});
      many.service_addresses.insert(address);
    }
    for (unsigned i = 0; i < 2000; ++i) {
      many.source_ranges.insert(
          {*many.cluster_ips.begin(),
           cidr(v4 ? fmt::format("172.{}.{}.0/24", 16 + i / 250, i % 250) : fmt::format("fd01:{:x}::/32", i))});
    }
    const auto table = open_table(settings_of(family_));
    EXPECT_EQ(written(table->replace(many)), static_cast<long>(10 + table->rules() + 42000));
    EXPECT_THAT(compared(*table, many), IsEmpty());
    EXPECT_EQ(written(table->replace(many)), 0);
    EXPECT_EQ(written(table->replace({})), 42000);
  });
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
