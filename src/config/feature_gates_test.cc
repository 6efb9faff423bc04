// SPDX-License-Identifier: Apache-2.0
#include "config/feature_gates.h"

#include <gmock/gmock.h>

namespace sluice::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Gates = std::map<std::string, bool>;

TEST(FeatureGates, AreReadFromPairs) {
  const auto gates = parse_feature_gates(" A=true ,B = false,,C=1,A=false");
  ASSERT_TRUE(gates) << gates.error().what;
  EXPECT_EQ(*gates, (Gates{{"A", false}, {"B", false}, {"C", true}}));
  const auto none = parse_feature_gates("");
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
}

TEST(FeatureGates, MalformedPairsAreRefused) {
  for (const char* text : {"A", "A=maybe", "A=", "=true", "A B=true", "A=true;B=true", "1A=true"}) {
    const auto gates = parse_feature_gates(text);
    ASSERT_FALSE(gates) << text;
    EXPECT_THAT(gates.error().what, HasSubstr("invalid value"));
  }
}

TEST(FeatureGates, LockedOnesKeepTheirValue) {
  for (const char* name :
       {"MultiCIDRServiceAllocator", "NFTablesProxyMode", "PreferSameTrafficDistribution", "SCTPSupport"}) {
    EXPECT_TRUE(check_feature_gates({{name, true}})) << name;
    const auto refused = check_feature_gates({{name, false}});
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().what,
              "cannot set feature gate " + std::string(name) + " to false, feature is locked to true");
  }
}

TEST(FeatureGates, NamesWithoutEffectAreReportedAndKnownOnesAreNot) {
  const auto told = check_feature_gates({{"AllowServiceExternalIPs", false},
                                         {"ComponentFlagz", false},
                                         {"LoggingAlphaOptions", true},
                                         {"EndpointSliceProxying", true},
                                         {"SidecarContainers", false}});
  ASSERT_TRUE(told) << told.error().what;
  EXPECT_THAT(*told, ElementsAre("EndpointSliceProxying", "SidecarContainers"));
}

TEST(FeatureGates, AllFaultsAreReportedAtOnce) {
  const auto refused = check_feature_gates({{"NFTablesProxyMode", false}, {"not a gate", true}});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().what,
            "[cannot set feature gate NFTablesProxyMode to false, feature is locked to true, unrecognized feature "
            "gate: not a gate]");
}

TEST(FeatureGates, DefaultsApplyUnlessConfigured) {
  EXPECT_TRUE(gate_enabled({}, "AllowServiceExternalIPs"));
  EXPECT_FALSE(gate_enabled({{"AllowServiceExternalIPs", false}}, "AllowServiceExternalIPs"));
  EXPECT_FALSE(gate_enabled({}, "LoggingAlphaOptions"));
  EXPECT_FALSE(gate_enabled({}, "NobodyKnowsThis"));
}

}  // namespace
}  // namespace sluice::config
