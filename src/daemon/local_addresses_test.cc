// SPDX-License-Identifier: Apache-2.0
#include "daemon/local_addresses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/ip_literals.h"
#include "sys/test_netns.h"

namespace sluice::daemon {
namespace {

TEST(LocalAddresses, AreTheNodesOwnAndNotThoseOfServices) {
  in_fresh_netns([] {
    // A bridge replaces it if the kernel has no dummy links.
    ASSERT_EQ(std::system("ip link add kube-ipvs0 type bridge && ip addr add 10.96.0.1/32 dev kube-ipvs0 && "
                          "ip link add own0 type bridge && ip addr add 10.0.0.1/24 dev own0"),
              0);
    EXPECT_THAT(local_addresses(), testing::Contains(ip("10.0.0.1")));
    EXPECT_THAT(local_addresses(), testing::Not(testing::Contains(ip("10.96.0.1"))));
  });
}

}  // namespace
}  // namespace sluice::daemon
