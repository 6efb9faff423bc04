// SPDX-License-Identifier: Apache-2.0
#include "config/conntrack.h"

#include <gtest/gtest.h>

namespace sluice::config {
namespace {

using namespace std::chrono_literals;

// Upstream: TestGetConntrackMax and its capped variant.
TEST(ConntrackMax, IsScaledByProcessorsWithinItsBounds) {
  struct Row {
    std::string name;
    std::optional<std::int32_t> per_core;
    std::optional<std::int32_t> min;
    unsigned processors;
    std::optional<std::int64_t> wanted;
  };
  const Row rows[] = {
      {"nothing set", {}, {}, 2, {}},
      {"zero per core leaves it alone", 0, {}, 2, {}},
      {"zero per core ignores the minimum", 0, 131072, 2, {}},
      {"scaled", 400000, {}, 2, 800000},
      {"minimum wins over less", 1, 300, 2, 300},
      {"scaled wins over the minimum", 200, 300, 2, 400},
      {"defaults on two processors", 32768, 131072, 2, 131072},
      {"defaults on sixteen", 32768, 131072, 16, 524288},
      {"exactly the cap", 32768, 131072, 32, 1048576},
      {"capped", 32768, 131072, 64, 1048576},
      {"capped even below the minimum", 1048577, 2000000, 1, 1048576},
      {"a minimum above the cap counts when nothing is scaled above it", 1, 2000000, 1, 2000000},
      {"no overflow", std::numeric_limits<std::int32_t>::max(), 0, 4096, 1048576},
  };
  for (const Row& row : rows) {
    ConntrackConfig config;
    config.max_per_core = row.per_core;
    config.min = row.min;
    EXPECT_EQ(conntrack_max(config, row.processors), row.wanted) << row.name;
  }
}

// Upstream: TestSetupConntrack.
TEST(ConntrackPlan, HasEachSettingOnlyWhenConfigured) {
  struct Row {
    std::string name;
    ConntrackConfig config;
    std::vector<SysctlSetting> wanted;
  };
  const auto timeouts = [](std::optional<Duration> established, std::optional<Duration> close_wait) {
    ConntrackConfig config;
    config.tcp_established_timeout = established;
    config.tcp_close_wait_timeout = close_wait;
    return config;
  };
  ConntrackConfig sized;
  sized.max_per_core = 12000;
  sized.min = 7;
  ConntrackConfig liberal;
  liberal.tcp_be_liberal = true;
  ConntrackConfig udp;
  udp.udp_timeout = 1s;
  udp.udp_stream_timeout = 2min;
  ConntrackConfig everything = default_config().conntrack;
  everything.tcp_be_liberal = true;
  everything.udp_timeout = 1s;
  everything.udp_stream_timeout = 2s;
  const Row rows[] = {
      {"nothing", {}, {}},
      {"size", sized, {{"net/netfilter/nf_conntrack_max", 24000}}},
      {"established", timeouts(5min, {}), {{"net/netfilter/nf_conntrack_tcp_timeout_established", 300}}},
      {"close wait", timeouts({}, 90s), {{"net/netfilter/nf_conntrack_tcp_timeout_close_wait", 90}}},
      {"zero timeouts", timeouts(0s, 0s), {}},
      {"liberal", liberal, {{"net/netfilter/nf_conntrack_tcp_be_liberal", 1}}},
      {"udp",
       udp,
       {{"net/netfilter/nf_conntrack_udp_timeout", 1}, {"net/netfilter/nf_conntrack_udp_timeout_stream", 120}}},
      {"defaults",
       default_config().conntrack,
       {{"net/netfilter/nf_conntrack_max", 131072},
        {"net/netfilter/nf_conntrack_tcp_timeout_established", 86400},
        {"net/netfilter/nf_conntrack_tcp_timeout_close_wait", 3600}}},
      {"everything",
       everything,
       {{"net/netfilter/nf_conntrack_max", 131072},
        {"net/netfilter/nf_conntrack_tcp_timeout_established", 86400},
        {"net/netfilter/nf_conntrack_tcp_timeout_close_wait", 3600},
        {"net/netfilter/nf_conntrack_tcp_be_liberal", 1},
        {"net/netfilter/nf_conntrack_udp_timeout", 1},
        {"net/netfilter/nf_conntrack_udp_timeout_stream", 2}}},
  };
  for (const Row& row : rows) EXPECT_EQ(conntrack_plan(row.config, 2).settings, row.wanted) << row.name;
}

TEST(ConntrackPlan, AsksForOneBucketForFourEntries) {
  EXPECT_EQ(conntrack_plan(default_config().conntrack, 8).hash_size_min, 65536);
  EXPECT_EQ(conntrack_plan(ConntrackConfig{}, 8).hash_size_min, std::nullopt);
}

}  // namespace
}  // namespace sluice::config
