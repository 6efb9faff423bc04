// SPDX-License-Identifier: Apache-2.0
#include "sys/legacy_tables.h"

#include <gtest/gtest.h>
#include <linux/netfilter.h>

#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

TEST(LegacyTables, ReportWhetherABuiltInChainIsEmpty) {
  for (const Family family : kFamilies) {
    in_fresh_netns([family] {
      const std::string program = family == Family::kIPv4 ? "iptables-legacy" : "ip6tables-legacy";
      const auto empty = [family](unsigned hook) {
        const auto answer = legacy_chain_empty(family, "nat", hook);
        EXPECT_TRUE(answer) << answer.error().what;
        return answer && *answer;
      };
      run({program, "-t", "nat", "-A", "OUTPUT", "-j", "ACCEPT"});
      EXPECT_TRUE(empty(NF_INET_PRE_ROUTING));
      EXPECT_FALSE(empty(NF_INET_LOCAL_OUT));
      run({program, "-t", "nat", "-F"});
      EXPECT_TRUE(empty(NF_INET_LOCAL_OUT));
      EXPECT_FALSE(legacy_chain_empty(family, "nat", NF_INET_FORWARD)) << "nat has no such chain";
      EXPECT_FALSE(legacy_chain_empty(family, "no-such-table", NF_INET_FORWARD));
    });
  }
}

}  // namespace
}  // namespace sluice::sys
