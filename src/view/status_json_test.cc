// SPDX-License-Identifier: Apache-2.0
#include "view/status_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "view/test_status.h"

namespace sluice::view {
namespace {

using testing::HasSubstr;

TEST(StatusJson, TheWholeForm) {
  plan::PortDraft port = web_port();
  port.external_ips = {*IpAddress::parse("192.0.2.7")};
  sync::LoopStatus loop = loop_status({port});
  loop.families[0].refusals = {{port.key, refused(port.external_ips[0]), "it is the node's"}};
  EXPECT_EQ(
      status_json(make_status(process_facts(), {}, loop, comparison({})), kNow),
      R"({"version":")" SLUICE_VERSION
      R"(","pid":4711,"mode":"iptables","flavour":"nft","node":"k8s-node1","source":"files in /m","upSeconds":90,)"
      R"("started":true,"waitsFor":[],"servesAsWanted":true,"listsComplete":true,"services":1,"slices":1,"zone":"",)"
      R"("families":[{"family":"IPv4","dataPlane":"iptables","synced":true,"lastSync":1576799995.000,"lastError":"",)"
      R"("servicePorts":1,"realServers":1,"changesWaiting":0,"fullSyncs":0,"partialSyncs":0,"failedSyncs":0,)"
      R"("driftRepairs":0,"refused":[{"servicePort":"default/web:http","protocol":"TCP","address":"192.0.2.7:80",)"
      R"("reason":"it is the node's"}],"refusedPorts":[],"unmetRequests":[],"unremoved":[],"kernelWork":null,"planes":[],"lacks":[],"live":{"equalsWanted":true,"missing":[],"unexpected":[]},"compareError":null}],)"
      R"("served":[{"name":"default/web:http","protocol":"TCP","family":"IPv4","refused":null,"addresses":[)"
      R"({"address":"10.104.247.10:80","kinds":["clusterIP"],"refused":null},)"
      R"({"address":"192.0.2.7:80","kinds":["externalIP"],"refused":"it is the node's"},)"
      R"({"address":"*:31947","kinds":["nodePort"],"refused":null}],)"
      R"("realServers":[{"address":"10.244.169.161:80","onThisNode":false,"clusterPool":true,"localPool":false}]}]})"
      "\n");
}

TEST(StatusJson, AProxyThatStartsSaysWhatItWaitsFor) {
  const Status status = starting_status(
      process_facts(), {{"Node \"k8s-node1\"", "it is not found", kNow - std::chrono::milliseconds(12500)}});
  EXPECT_THAT(status_json(status, kNow),
              HasSubstr(R"("started":false,"waitsFor":[{"what":"Node \"k8s-node1\"","why":"it is not found",)"
                        R"("since":1576799987.500}],"servesAsWanted":false,)"));
}

TEST(StatusJson, APortThatTheKernelRefusesHasItsReason) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].refused_ports = {{web_port().key, "line 3 \"failed\"", kNow - std::chrono::seconds(40), 5}};
  const std::string text = status_json(make_status(process_facts(), {}, loop, comparison({})), kNow);
  EXPECT_THAT(text, HasSubstr(R"("refusedPorts":[{"servicePort":"default/web:http","protocol":"TCP",)"
                              R"("reason":"line 3 \"failed\"","since":1576799960.000,"attempts":5}])"));
  EXPECT_THAT(text, HasSubstr(R"("family":"IPv4","refused":"line 3 \"failed\"","addresses":)"));
  EXPECT_THAT(text, HasSubstr(R"("servesAsWanted":false)"));
}

TEST(StatusJson, AnUnmetRequestNamesTheService) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].unmet_requests = {{{"default", "web"}, "no \"lc\" here"}};
  EXPECT_THAT(status_json(make_status(process_facts(), {}, loop, comparison({})), kNow),
              HasSubstr(R"("unmetRequests":[{"service":"default/web","why":"no \"lc\" here"}])"));
}

TEST(StatusJson, WhatTheKernelDoesNotLetGoIsNamed) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].unremoved = {"nat chain \"X\": in use"};
  EXPECT_THAT(status_json(make_status(process_facts(), {}, loop, comparison({})), kNow),
              HasSubstr(R"("unremoved":["nat chain \"X\": in use"])"));
}

TEST(StatusJson, TheWorkOfAPlanesOwnProgramsIsShown) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].kernel_work = dataplane::KernelWork{{"connections: 1 of at most 2"}, {{"no_route", 3}}};
  EXPECT_THAT(
      status_json(make_status(process_facts(), {}, loop, comparison({})), kNow),
      HasSubstr(
          R"("kernelWork":{"lines":["connections: 1 of at most 2"],"dropped":[{"reason":"no_route","packets":3}]},)"));
}

TEST(StatusJson, PlanesHaveTheirStageAndWhatTheyCannotDo) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].planes = {{"ipvs", sync::Stage::kServing}, {"iptables", sync::Stage::kRetiring}};
  loop.families[0].capabilities.lacks = {{dataplane::Gap::kPoolBySource, "one list for all"}};
  EXPECT_THAT(status_json(make_status(process_facts(), {}, loop, comparison({})), kNow),
              HasSubstr(R"("planes":[{"name":"ipvs","stage":"serving"},{"name":"iptables","stage":"retiring"}],)"
                        R"("lacks":[{"gap":"pool-by-source","why":"one list for all"}])"));
}

TEST(StatusJson, NothingIsCut) {
  plan::PortDraft port = web_port();
  port.real_servers.assign(1500, port.real_servers[0]);
  const std::string text = status_json(
      make_status(process_facts(), {}, loop_status({port}), comparison(std::vector<std::string>(30, "rule"))), kNow);
  std::size_t servers = 0;
  for (std::size_t at = text.find("onThisNode"); at != std::string::npos; at = text.find("onThisNode", at + 1))
    ++servers;
  EXPECT_EQ(servers, 1500U);
  std::size_t rules = 0;
  for (std::size_t at = text.find("\"rule\""); at != std::string::npos; at = text.find("\"rule\"", at + 1)) ++rules;
  EXPECT_EQ(rules, 30U);
}

TEST(StatusJson, AComparisonThatFailedSaysWhy) {
  std::vector<sync::FamilyComparison> failed;
  failed.push_back({Family::kIPv4, fail(Errc::kUnavailable, "iptables-save was killed")});
  EXPECT_THAT(status_json(make_status(process_facts(), {}, loop_status({web_port()}), failed), kNow),
              HasSubstr(R"("live":null,"compareError":"iptables-save was killed")"));
}

}  // namespace
}  // namespace sluice::view
