// SPDX-License-Identifier: Apache-2.0
#include "daemon/planes.h"

#include <gmock/gmock.h>

#include "dataplane/fake_mechanism.h"

namespace sluice::daemon {
namespace {

using config::of;
using testing::HasSubstr;

TEST(ProbeFamilies, ReturnsWhichCanBeServedAndWhyNot) {
  dataplane::FakeMechanism mode("fake");
  mode.unsupported[Family::kIPv6] = "no IPv6";
  const auto probed = probe_families(mode);
  ASSERT_TRUE(probed) << probed.error().what;
  EXPECT_TRUE(of(probed->supported, Family::kIPv4));
  EXPECT_FALSE(of(probed->supported, Family::kIPv6));
  EXPECT_EQ(of(probed->reasons, Family::kIPv6), "no IPv6");
}

// A node of a dual-stack cluster must not become one of a single-stack cluster by chance.
TEST(ProbeFamilies, AnUnknownFamilyBesideOneThatCanBeServedIsAnError) {
  for (const Family unknown : kFamilies) {
    dataplane::FakeMechanism mode("fake");
    mode.unavailable = {unknown};
    const auto probed = probe_families(mode);
    ASSERT_FALSE(probed);
    EXPECT_EQ(probed.error().code, Errc::kUnavailable);
    EXPECT_THAT(probed.error().what, HasSubstr(std::string(to_string(unknown))));
    mode.unsupported[config::other_family(unknown)] = "no such family";
    EXPECT_TRUE(probe_families(mode)) << "none can be served, and the reasons are known";
  }
}

}  // namespace
}  // namespace sluice::daemon
