// SPDX-License-Identifier: Apache-2.0
#include "sys/link_watch.h"

#include <gtest/gtest.h>

#include "base/ip_literals.h"
#include "sys/links.h"
#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

TEST(LinkWatch, ReportsEachKindOfChangeOnce) {
  in_fresh_netns([] {
    auto watch = LinkWatch::open();
    ASSERT_TRUE(watch) << watch.error().what;
    EXPECT_FALSE(*watch->take_changes());
    const auto reported_once = [&] { return *watch->take_changes() && !*watch->take_changes(); };
    ASSERT_TRUE(add_bridge("watched0"));
    EXPECT_TRUE(reported_once());
    ASSERT_TRUE(add_address("watched0", ip("10.9.0.1"), 24));
    EXPECT_TRUE(reported_once());
    ASSERT_TRUE(set_mtu("watched0", 1400));
    EXPECT_TRUE(reported_once());
    ASSERT_TRUE(remove_link("watched0"));
    EXPECT_TRUE(reported_once());
  });
}

TEST(LinkWatch, LosesNoChangeToAFullSocket) {
  in_fresh_netns([] {
    auto watch = LinkWatch::open();
    ASSERT_TRUE(watch);
    std::string batch;
    for (int i = 0; i < 2000; ++i) batch += "link add watched" + std::to_string(i) + " type bridge\n";
    run({"ip", "-batch", "-"}, batch);
    EXPECT_TRUE(*watch->take_changes());
    EXPECT_FALSE(*watch->take_changes());
  });
}

}  // namespace
}  // namespace sluice::sys
