// SPDX-License-Identifier: Apache-2.0
// What kube-proxy's TestHealthzServer and TestLivezServer assert, and the bodies byte for byte.
#include "observe/health.h"

#include <gtest/gtest.h>

namespace sluice::observe {
namespace {

using namespace std::chrono_literals;

constexpr auto kTimeout = 120s;

class HealthTest : public testing::Test {
 protected:
  FakeClock clock_;  // begins at 2019-12-20T00:00:00Z
  Health health_{clock_, kTimeout};

  void start_both() {
    health_.loop_started(Family::kIPv4);
    health_.loop_started(Family::kIPv6);
    health_.set_node("");
  }
};

TEST_F(HealthTest, BeforeTheLoopsStartItIsHealthyWithoutFamilies) {
  health_.set_node("");
  const Health::Response response = health_.healthz();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"({"lastUpdated":"2019-12-20T00:00:00Z","currentTime":"2019-12-20T00:00:00Z",)"
                           R"("nodeEligible":true,"healthy":true,"status":{}})");
}

TEST_F(HealthTest, AnUnknownNodeIsNotEligibleAndNothingWasEverUpdated) {
  const Health::Response response = health_.healthz();
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.body,
            R"({"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"2019-12-20T00:00:00Z",)"
            R"("nodeEligible":false,"nodeProblem":"this node's Node object is not known","healthy":true,)"
            R"("status":{}})");
  EXPECT_EQ(health_.livez().status, 200);
}

TEST_F(HealthTest, WhileNoNodeIsKnownTheBodySaysWhy) {
  std::string why = R"(waiting for Node "a": the API server has no such Node; it has: b)";
  health_.explain_unknown_node([&why] { return why; });
  EXPECT_NE(health_.healthz().body.find(
                R"("nodeProblem":"waiting for Node \"a\": the API server has no such Node; it has: b",)"),
            std::string::npos)
      << health_.healthz().body;
  why = "waiting for the API server";
  EXPECT_NE(health_.healthz().body.find("waiting for the API server"), std::string::npos) << "evaluated each time";
  health_.set_node("");
  EXPECT_EQ(health_.healthz().body.find("nodeProblem"), std::string::npos);
}

TEST_F(HealthTest, AHealthyResponseHasTheTimeOfTheRequest) {
  start_both();
  clock_.advance(3661s + 120ms);
  health_.synced(Family::kIPv6);
  clock_.advance(1ns);
  EXPECT_EQ(
      health_.healthz().body,
      R"({"lastUpdated":"2019-12-20T01:01:01.120000001Z","currentTime":"2019-12-20T01:01:01.120000001Z","nodeEligible":true,)"
      R"("healthy":true,"status":{"IPv4":{"lastUpdated":"2019-12-20T00:00:00Z","healthy":true},)"
      R"("IPv6":{"lastUpdated":"2019-12-20T01:01:01.12Z","healthy":true}}})");
}

TEST_F(HealthTest, AnUnhealthyResponseHasTheNewestUpdateOfAnyFamily) {
  start_both();
  clock_.advance(10s);
  health_.synced(Family::kIPv6);
  health_.queued(Family::kIPv4);
  clock_.advance(kTimeout);
  const Health::Response response = health_.livez();
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.body,
            R"({"lastUpdated":"2019-12-20T00:00:10Z","currentTime":"2019-12-20T00:02:10Z","healthy":false,)"
            R"("status":{"IPv4":{"lastUpdated":"2019-12-20T00:00:00Z","healthy":false},)"
            R"("IPv6":{"lastUpdated":"2019-12-20T00:00:10Z","healthy":true}}})");
}

TEST_F(HealthTest, IdleForeverIsHealthy) {
  start_both();
  clock_.advance(1000h);
  EXPECT_TRUE(health_.healthy());
  EXPECT_EQ(health_.healthz().status, 200);
}

TEST_F(HealthTest, AChangeMayWaitForLessThanTheTimeout) {
  start_both();
  health_.queued(Family::kIPv4);
  clock_.advance(kTimeout - 1ns);
  EXPECT_TRUE(health_.healthy());
  clock_.advance(1ns);
  EXPECT_FALSE(health_.healthy());
  EXPECT_EQ(health_.healthz().status, 503);
  EXPECT_EQ(health_.livez().status, 503);
  health_.synced(Family::kIPv4);
  EXPECT_TRUE(health_.healthy());
  EXPECT_EQ(health_.healthz().status, 200);
}

TEST_F(HealthTest, TheOldestWaitingChangeCounts) {
  start_both();
  health_.queued(Family::kIPv4);
  clock_.advance(kTimeout / 2);
  health_.queued(Family::kIPv4);
  clock_.advance(kTimeout / 2);
  EXPECT_FALSE(health_.healthy());
}

TEST_F(HealthTest, OneFamilysSyncDoesNotExcuseTheOther) {
  start_both();
  health_.queued(Family::kIPv4);
  health_.queued(Family::kIPv6);
  clock_.advance(kTimeout);
  health_.synced(Family::kIPv4);
  EXPECT_FALSE(health_.healthy());
  health_.synced(Family::kIPv6);
  EXPECT_TRUE(health_.healthy());
}

TEST_F(HealthTest, ANewChangeAfterASyncGetsItsOwnTime) {
  start_both();
  health_.queued(Family::kIPv4);
  clock_.advance(kTimeout - 1s);
  health_.synced(Family::kIPv4);
  health_.queued(Family::kIPv4);
  clock_.advance(2s);
  EXPECT_TRUE(health_.healthy());
}

TEST_F(HealthTest, AFamilyThatHasNotStartedCountsForNothingAndItsWaitBeginsAtTheStart) {
  health_.loop_started(Family::kIPv4);
  health_.queued(Family::kIPv6);
  clock_.advance(2 * kTimeout);
  EXPECT_TRUE(health_.healthy());
  EXPECT_EQ(health_.livez().body.find("IPv6"), std::string::npos);
  health_.loop_started(Family::kIPv6);
  EXPECT_TRUE(health_.healthy());
  EXPECT_NE(health_.livez().body.find("IPv6"), std::string::npos);
  clock_.advance(kTimeout);
  EXPECT_FALSE(health_.healthy());
}

TEST_F(HealthTest, TheNodeMattersToHealthzOnly) {
  start_both();
  health_.set_node("it is being deleted");
  const Health::Response response = health_.healthz();
  EXPECT_EQ(response.status, 503);
  EXPECT_NE(response.body.find(R"("nodeEligible":false,"nodeProblem":"it is being deleted","healthy":true)"),
            std::string::npos)
      << response.body;
  EXPECT_EQ(health_.livez().status, 200);
  EXPECT_EQ(health_.livez().body.find("nodeEligible"), std::string::npos);
  EXPECT_TRUE(health_.healthy()) << "health-check node ports do not ask for the node";
  health_.set_node("");
  EXPECT_EQ(health_.healthz().status, 200);
}

}  // namespace
}  // namespace sluice::observe
