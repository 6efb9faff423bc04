// SPDX-License-Identifier: Apache-2.0
// The table's rules and sets of mode ipvs are tested in ipvs/helper_table_test.cc; here is what maps add.
#include "dataplane/nft/owned_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "base/ip_literals.h"
#include "dataplane/nft/keys.h"
#include "sys/process.h"
#include "sys/test_netns.h"

namespace sluice::dataplane::nft {
namespace {

using sys::NftElement;
using sys::NftHook;
using sys::NftRule;
using sys::NftVerdict;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using enum sys::NftField;

// A map of verdicts, and a set that its rule fills.
OwnedTable make_table() {
  std::vector<NftRule> rules;
  rules.emplace_back("input");
  rules.back()
      .load_payload(NFT_PAYLOAD_NETWORK_HEADER, 12, 4)
      .update_element("clients", 0)
      .load_payload(NFT_PAYLOAD_NETWORK_HEADER, 16, 4)
      .verdict_of("services");
  return {Family::kIPv4,
          "t",
          {{.name = "services", .key = {kIPv4Address}, .verdicts = true},
           {.name = "clients",
            .key = {kIPv4Address},
            .dynamic = true,
            .timeout = std::chrono::minutes(1),
            .elements_max = 100}},
          {{"input", NftHook{"filter", NF_INET_LOCAL_IN, 0}}, {"other", std::nullopt}},
          std::move(rules)};
}

NftElement service(const char* address, std::uint32_t code) {
  return {encode(ip(address)), {}, {}, NftVerdict{code}};
}

ElementsBySet services(std::vector<NftElement> elements) {
  std::ranges::sort(elements);
  return {{"services", std::move(elements)}};
}

std::string nft(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "nft");
  const auto outcome = sys::run_and_collect(std::move(arguments), "");
  EXPECT_TRUE(outcome && outcome->exit_status == 0);
  return outcome ? outcome->output : "";
}

std::size_t written(const Result<std::size_t>& result) {
  EXPECT_TRUE(result) << result.error().what;
  return result ? *result : 0;
}

TEST(OwnedTable, AnElementWithAnotherVerdictReplacesTheOldOne) {
  in_fresh_netns([] {
    const OwnedTable table = make_table();
    const ElementsBySet before = services({service("10.0.0.1", NF_ACCEPT), service("10.0.0.2", NF_ACCEPT)});
    const ElementsBySet after = services({service("10.0.0.1", NF_DROP), service("10.0.0.2", NF_ACCEPT)});
    EXPECT_EQ(written(table.replace(before)), 5U) << "two sets, a rule, two elements";
    EXPECT_EQ(written(table.replace(after)), 2U) << "one removed, one added";
    EXPECT_THAT(nft({"list", "table", "ip", "t"}), HasSubstr("10.0.0.1 : drop"));
    EXPECT_TRUE(table.compare(after)->empty());
    EXPECT_THAT(table.compare(before)->missing, ElementsAre("element 10.0.0.1 : accept of nftables set services"));
    EXPECT_THAT(table.compare(before)->unexpected, ElementsAre("element 10.0.0.1 : drop of nftables set services"));
    EXPECT_EQ(written(table.change({before, after})), 3U) << "one removed, and all wanted ones are named";
    EXPECT_TRUE(table.compare(before)->empty());
  });
}

TEST(OwnedTable, WhatRulesPutIntoASetIsNoDifference) {
  in_fresh_netns([] {
    const OwnedTable table = make_table();
    const ElementsBySet wanted = services({service("10.0.0.1", NF_ACCEPT)});
    written(table.replace(wanted));
    nft({"add", "element", "ip", "t", "clients", "{ 192.0.2.1 }"});
    EXPECT_TRUE(*table.intact());
    EXPECT_TRUE(table.compare(wanted)->empty());
    EXPECT_EQ(written(table.replace(wanted)), 0U);
    EXPECT_THAT(nft({"list", "table", "ip", "t"}), HasSubstr("192.0.2.1")) << "a client that is remembered stays so";
  });
}

TEST(OwnedTable, WhatIsMissingMayBeRemoved) {
  in_fresh_netns([] {
    const OwnedTable table = make_table();
    written(table.replace(services({service("10.0.0.1", NF_ACCEPT)})));
    const auto changed = table.change({services({service("10.0.0.3", NF_DROP)}),
                                       services({service("10.0.0.1", NF_ACCEPT), service("10.0.0.9", NF_DROP)})});
    ASSERT_TRUE(changed) << changed.error().what;
    EXPECT_TRUE(table.compare(services({service("10.0.0.3", NF_DROP)}))->empty());
  });
}

TEST(OwnedTable, AnotherTablesObjectsAreLeftAlone) {
  in_fresh_netns([] {
    nft({"add", "table", "ip", "foreign"});
    nft({"add", "set", "ip", "foreign", "services", "{ type ipv4_addr; elements = { 10.9.9.9 }; }"});
    const std::string before = nft({"list", "table", "ip", "foreign"});
    const OwnedTable table = make_table();
    EXPECT_FALSE(*table.intact());
    EXPECT_THAT(table.compare({})->missing, ElementsAre("nftables table ip t"));
    written(table.replace(services({service("10.0.0.1", NF_ACCEPT)})));
    written(table.replace({}));
    EXPECT_EQ(nft({"list", "table", "ip", "foreign"}), before);
    EXPECT_THAT(nft({"list", "table", "ip", "t"}), Not(HasSubstr("elements")));
    EXPECT_THAT(table.compare({})->unexpected, IsEmpty());
  });
}

}  // namespace
}  // namespace sluice::dataplane::nft
