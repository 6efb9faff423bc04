// SPDX-License-Identifier: Apache-2.0
#include "sys/netfilter_objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

TEST(NetfilterObjects, DeletesOneTableAndLeavesOthers) {
  in_fresh_netns([] {
    ASSERT_EQ(
        std::system(
            "nft 'add table ip kube-proxy; add chain ip kube-proxy c; add table ip other; add table ip6 kube-proxy'"),
        0);
    const auto deleted = delete_nft_table(Family::kIPv4, "kube-proxy");
    ASSERT_TRUE(deleted) << deleted.error().what;
    EXPECT_TRUE(*deleted);
    EXPECT_EQ(std::system("nft list tables | grep -q 'table ip other'"), 0);
    EXPECT_EQ(std::system("nft list tables | grep -q 'table ip6 kube-proxy'"), 0);
    EXPECT_NE(std::system("nft list tables | grep -q 'table ip kube-proxy'"), 0);
    const auto again = delete_nft_table(Family::kIPv4, "kube-proxy");
    ASSERT_TRUE(again) << again.error().what;
    EXPECT_FALSE(*again);
  });
}

TEST(NetfilterObjects, ListsAndDestroysSets) {
  in_fresh_netns([] {
    ASSERT_EQ(std::system(
                  "ipset create KUBE-NODE-PORT-TCP bitmap:port range 0-65535 && ipset add KUBE-NODE-PORT-TCP 30080 && "
                  "ipset add KUBE-NODE-PORT-TCP 30082 && ipset create other hash:ip"),
              0);
    const auto names = list_ipsets();
    ASSERT_TRUE(names) << names.error().what;
    EXPECT_THAT(*names, testing::UnorderedElementsAre("KUBE-NODE-PORT-TCP", "other"));
    const auto ports = list_ipset_ports("KUBE-NODE-PORT-TCP");
    ASSERT_TRUE(ports) << ports.error().what;
    EXPECT_THAT(*ports, testing::ElementsAre(30080, 30082));
    const auto absent = list_ipset_ports("absent");
    ASSERT_FALSE(absent);
    EXPECT_EQ(absent.error().code, Errc::kNotFound);
    const auto gone = destroy_ipset("KUBE-NODE-PORT-TCP");
    ASSERT_TRUE(gone) << gone.error().what;
    EXPECT_TRUE(*gone);
    EXPECT_THAT(*list_ipsets(), testing::ElementsAre("other"));
    EXPECT_FALSE(*destroy_ipset("KUBE-NODE-PORT-TCP"));
  });
}

TEST(NetfilterObjects, ASetInUseIsReportedAndStays) {
  in_fresh_netns([] {
    ASSERT_EQ(std::system("ipset create inner hash:ip && ipset create outer list:set && ipset add outer inner"), 0);
    const auto refused = destroy_ipset("inner");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kUnavailable);
    EXPECT_THAT(*list_ipsets(), testing::UnorderedElementsAre("inner", "outer"));
  });
}

}  // namespace
}  // namespace sluice::sys
