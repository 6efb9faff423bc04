// SPDX-License-Identifier: Apache-2.0
#include "model/weights.h"

#include <gtest/gtest.h>

namespace sluice::model {
namespace {

std::string weight(std::string_view text, const char* address, const char* node, const char* zone) {
  const auto weights = Weights::parse(text);
  if (!weights) return weights.error().what;
  const auto found = weights->of(*IpAddress::parse(address), node, zone);
  return found ? std::to_string(*found) : "none";
}

TEST(Weights, TheMostSpecificSelectorCounts) {
  const char* text = " 10.2.0.1=10, node/worker-7=0 ,zone/eu-1a=3,*=1";
  EXPECT_EQ(weight(text, "10.2.0.1", "worker-7", "eu-1a"), "10");
  EXPECT_EQ(weight(text, "10.2.0.2", "worker-7", "eu-1a"), "0");
  EXPECT_EQ(weight(text, "10.2.0.2", "worker-8", "eu-1a"), "3");
  EXPECT_EQ(weight(text, "10.2.0.2", "worker-8", "eu-1b"), "1");
}

TEST(Weights, ABareNumberIsForAllAndWithoutItTheOthersHaveNone) {
  EXPECT_EQ(weight("5", "fd00::1", "", ""), "5");
  EXPECT_EQ(weight("fd00::1=5", "fd00::1", "", ""), "5");
  EXPECT_EQ(weight("fd00::1=5", "fd00::2", "", ""), "none");
  EXPECT_EQ(weight("65535", "10.2.0.1", "", ""), "65535");
}

TEST(Weights, UnreadablePartsAreNamed) {
  EXPECT_EQ(weight("", "10.2.0.1", "", ""), "'' is not a weight (0 to 65535)");
  EXPECT_EQ(weight("65536", "10.2.0.1", "", ""), "'65536' is not a weight (0 to 65535)");
  EXPECT_EQ(weight("*=-1", "10.2.0.1", "", ""), "'-1' is not a weight (0 to 65535)");
  EXPECT_EQ(weight("1,", "10.2.0.1", "", ""), "'' is not a weight (0 to 65535)");
  EXPECT_EQ(weight("pod/a=1", "10.2.0.1", "", ""),
            "'pod/a' is not a selector (an IP address, node/NAME, zone/NAME or *)");
  EXPECT_EQ(weight("node/=1", "10.2.0.1", "", ""),
            "'node/' is not a selector (an IP address, node/NAME, zone/NAME or *)");
  EXPECT_EQ(weight("*=1,2", "10.2.0.1", "", ""), "'*' is given twice");
  EXPECT_EQ(weight("zone/a=1,zone/a=1", "10.2.0.1", "", ""), "'zone/a' is given twice");
}

}  // namespace
}  // namespace sluice::model
