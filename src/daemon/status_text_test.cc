// SPDX-License-Identifier: Apache-2.0
#include "daemon/status_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::daemon {
namespace {

const Clock::WallTime kNow{std::chrono::hours(24 * 365 * 50)};
const DaemonFacts kFacts{"iptables", "nft", "k8s-node1", "files in /m", kNow - std::chrono::seconds(90)};

sync::LoopStatus serving_status() {
  sync::LoopStatus status;
  status.lists_complete = true;
  status.services = 1;
  status.slices = 1;
  sync::FamilyStatus family;
  family.synced = true;
  family.last_sync = kNow - std::chrono::seconds(5);
  family.service_ports = 1;
  family.real_servers = 1;
  status.families.push_back(family);
  sync::ServedPort port;
  port.name = "default/web:http";
  port.frontends = {{plan::FrontendKind::kClusterIp, "10.104.247.10:80"}, {plan::FrontendKind::kNodePort, "*:31947"}};
  plan::RealServer server;
  server.address = *IpAddress::parse("10.244.169.161");
  server.port = 80;
  port.real_servers.push_back(server);
  status.served.push_back(port);
  return status;
}

std::vector<sync::FamilyComparison> comparison(std::vector<std::string> missing) {
  std::vector<sync::FamilyComparison> result;
  result.push_back({Family::kIPv4, dataplane::Difference{std::move(missing), {}}});
  return result;
}

TEST(StatusText, ServingAsWantedIsStatusZero) {
  const StatusAnswer answer = status_text(kFacts, serving_status(), comparison({}), kNow);
  EXPECT_EQ(answer.exit_status, 0);
  EXPECT_EQ(answer.text, "Sluice " SLUICE_VERSION
                         ", mode iptables (nft), node k8s-node1, up 90 s\n"
                         "files in /m: 1 Services, 1 EndpointSlices\n"
                         "IPv4: 1 Service ports, 1 real servers; synced 5 s ago, live equals wanted\n"
                         "\n"
                         "SERVICE PORT      PROTO  ADDRESSES                  REAL SERVERS\n"
                         "default/web:http  TCP    10.104.247.10:80  *:31947  10.244.169.161:80\n");
}

TEST(StatusText, ADifferenceIsShownAndIsStatusOne) {
  const StatusAnswer answer =
      status_text(kFacts, serving_status(), comparison({"nat KUBE-SVC-X: -j KUBE-SEP-Y"}), kNow);
  EXPECT_EQ(answer.exit_status, 1);
  EXPECT_THAT(
      answer.text,
      testing::HasSubstr("live differs from wanted: 1 missing, 0 unexpected\n    - nat KUBE-SVC-X: -j KUBE-SEP-Y\n"));
}

TEST(StatusText, AFailedSyncIsStatusOneAndNamesTheReason) {
  sync::LoopStatus status = serving_status();
  status.families[0].last_error = "iptables-restore: line 3 failed";
  const StatusAnswer answer = status_text(kFacts, status, comparison({}), kNow);
  EXPECT_EQ(answer.exit_status, 1);
  EXPECT_THAT(answer.text, testing::HasSubstr("last sync failed: iptables-restore: line 3 failed"));
}

TEST(StatusText, BeforeTheFirstListNothingIsAsWanted) {
  const StatusAnswer answer = status_text(kFacts, sync::LoopStatus{}, {}, kNow);
  EXPECT_EQ(answer.exit_status, 1);
  EXPECT_THAT(answer.text, testing::HasSubstr("the first list is not complete yet"));
}

TEST(StatusJson, IsOneObjectWithTheSameFacts) {
  const StatusAnswer answer = status_json(kFacts, serving_status(), comparison({}), kNow);
  EXPECT_EQ(answer.exit_status, 0);
  EXPECT_THAT(answer.text, testing::HasSubstr(R"("live":{"equalsWanted":true,"missing":[],"unexpected":[]})"));
  EXPECT_THAT(answer.text, testing::HasSubstr(R"("addresses":["10.104.247.10:80","*:31947"])"));
  EXPECT_THAT(answer.text, testing::EndsWith("}\n"));
}

}  // namespace
}  // namespace sluice::daemon
