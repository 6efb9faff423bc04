// SPDX-License-Identifier: Apache-2.0
#include "sys/sysctl.h"

#include <gtest/gtest.h>

#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

constexpr const char* kName = "net/ipv4/conf/all/route_localnet";

TEST(Sysctl, ReadsWithoutTheNewline) {
  const auto value = read_sysctl("kernel/ostype");
  ASSERT_TRUE(value) << value.error().what;
  EXPECT_EQ(*value, "Linux");
}

TEST(Sysctl, WritesOnlyWhatDiffers) {
  in_fresh_netns([] {
    const auto first = ensure_sysctl(kName, "1");
    ASSERT_TRUE(first) << first.error().what;
    EXPECT_TRUE(*first);
    EXPECT_EQ(*read_sysctl(kName), "1");
    const auto second = ensure_sysctl(kName, "1");
    ASSERT_TRUE(second) << second.error().what;
    EXPECT_FALSE(*second);
  });
}

TEST(Sysctl, BelongsToTheCallingThreadsNamespace) {
  const auto outside = read_sysctl(kName);
  ASSERT_TRUE(outside) << outside.error().what;
  in_fresh_netns([&] {
    const std::string other = *outside == "0" ? "1" : "0";
    ASSERT_TRUE(ensure_sysctl(kName, other));
    EXPECT_EQ(*read_sysctl(kName), other);
  });
  EXPECT_EQ(*read_sysctl(kName), *outside);
}

TEST(Sysctl, UnknownNameIsNotFoundAndNamed) {
  for (const auto& error : {read_sysctl("net/no/such/name").error(), ensure_sysctl("net/no/such/name", "1").error()}) {
    EXPECT_EQ(error.code, Errc::kNotFound);
    EXPECT_NE(error.what.find("net/no/such/name"), std::string::npos);
  }
}

TEST(Sysctl, ReadOnlySettingsAreRecognised) {
  EXPECT_TRUE(sysctl_is_read_only("kernel/ostype"));
  EXPECT_FALSE(sysctl_is_read_only("net/no/such/name"));
  in_fresh_netns([] {
    EXPECT_FALSE(sysctl_is_read_only(kName));
    EXPECT_TRUE(sysctl_is_read_only("net/netfilter/nf_conntrack_max")) << "the host's, since Linux 2.6.27";
  });
}

TEST(Sysctl, ValueThatTheKernelRefusesIsInvalid) {
  in_fresh_netns([] {
    const auto refused = ensure_sysctl(kName, "many");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::kInvalid);
  });
}

}  // namespace
}  // namespace sluice::sys
