// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/ipvs_sysctls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::dataplane::ipvs {
namespace {

constexpr sluice::ipvs::Description kKernel = sluice::ipvs::describe_ip_vs("kernel");

using testing::ElementsAre;

std::vector<std::string> names(const std::vector<sys::SysctlSetting>& settings) {
  std::vector<std::string> found;
  for (const auto& each : settings) found.push_back(each.name + "=" + each.value);
  return found;
}

TEST(WantedSysctls, ByKernelAndStrictArp) {
  EXPECT_THAT(names(wanted_sysctls(kKernel, false, {6, 1})),
              ElementsAre("net/ipv4/vs/conntrack=1", "net/ipv4/vs/expire_nodest_conn=1",
                          "net/ipv4/vs/expire_quiescent_template=1", "net/ipv4/ip_forward=1"));
  EXPECT_THAT(names(wanted_sysctls(kKernel, false, {5, 8})), testing::Contains("net/ipv4/vs/conn_reuse_mode=0"));
  EXPECT_THAT(names(wanted_sysctls(kKernel, false, {5, 10})),
              testing::Not(testing::Contains("net/ipv4/vs/conn_reuse_mode=0")));
  EXPECT_THAT(names(wanted_sysctls(kKernel, true, {6, 1})),
              testing::IsSupersetOf(
                  {std::string("net/ipv4/conf/all/arp_ignore=1"), std::string("net/ipv4/conf/all/arp_announce=2")}));
  EXPECT_GE(kernel_version(), (KernelVersion{4, 0}));
}

TEST(WantedSysctls, FollowTheEnginesDescription) {
  using sluice::ipvs::Description;
  EXPECT_THAT(names(wanted_sysctls(Description{}, true, {5, 8})),
              ElementsAre("net/ipv4/ip_forward=1", "net/ipv4/conf/lo/accept_local=1"));
  EXPECT_THAT(
      names(wanted_sysctls(Description{.needs_local_addresses = true}, true, {5, 8})),
      ElementsAre("net/ipv4/ip_forward=1", "net/ipv4/conf/all/arp_ignore=1", "net/ipv4/conf/all/arp_announce=2"));
  EXPECT_THAT(names(wanted_sysctls(Description{.needs_ip_vs_settings = true}, true, {5, 8})),
              testing::AllOf(testing::Contains("net/ipv4/vs/conntrack=1"),
                             testing::Not(testing::Contains("net/ipv4/conf/all/arp_ignore=1"))));
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
