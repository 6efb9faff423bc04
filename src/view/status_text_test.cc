// SPDX-License-Identifier: Apache-2.0
#include "view/status_text.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "view/test_status.h"

namespace sluice::view {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string narrow(const Status& status) {
  return status_text(status, Width::kNarrow, kNow);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

plan::PortDraft large_port() {
  plan::PortDraft port = web_port();
  port.key.service.name = "large";
  port.real_servers.clear();
  for (std::size_t i = 0; i < 1500; ++i)
    port.real_servers.push_back(real_server(fmt::format("10.9.{}.{}", i / 250, i % 250 + 1)));
  for (std::size_t i = 1; i <= 5; ++i) port.external_ips.push_back(*IpAddress::parse(fmt::format("192.0.2.{}", i)));
  return port;
}

TEST(StatusText, AllThatIsAskedForAtAGlance) {
  EXPECT_EQ(narrow(serving_status()), "Sluice " SLUICE_VERSION
                                      ", pid 4711, mode iptables (nft), node k8s-node1, up 90 s\n"
                                      "files in /m: 1 Service, 1 EndpointSlice\n"
                                      "IPv4: 1 Service port, 1 real server; synced 5 s ago, live equals wanted\n"
                                      "\n"
                                      "SERVICE PORT      PROTO  ADDRESSES                  REAL SERVERS\n"
                                      "default/web:http  TCP    10.104.247.10:80  *:31947  10.244.169.161:80\n");
}

TEST(StatusText, TheWorkOfProgramsThatBothFamiliesShareIsShownOnce) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].kernel_work = dataplane::KernelWork{{"connections: 1 of at most 2", "programs on 3 devices"}, {}};
  loop.families.push_back(loop.families[0]);
  loop.families[1].family = Family::kIPv6;
  loop.families[1].kernel_work->lines[0] = "connections: 2 of at most 2";  // read later
  const std::string text = narrow(make_status(process_facts(), {}, loop, comparison({})));
  const std::string lines = "iptables: connections: 1 of at most 2\niptables: programs on 3 devices\n\n";
  EXPECT_THAT(text, HasSubstr(lines));
  EXPECT_EQ(text.find("connections"), text.rfind("connections"));
}

TEST(StatusText, ADifferenceIsShown) {
  const Status status =
      make_status(process_facts(), {}, loop_status({web_port()}), comparison({"nat KUBE-SVC-X: -j KUBE-SEP-Y"}));
  EXPECT_FALSE(serves_as_wanted(status));
  EXPECT_THAT(narrow(status),
              HasSubstr("live differs from wanted: 1 missing, 0 unexpected\n    - nat KUBE-SVC-X: -j KUBE-SEP-Y\n"));
}

TEST(StatusText, ManyDifferencesAreCutAndCountedAndWideShowsThemAll) {
  const std::vector<std::string> missing(30, "a rule");
  const Status status = make_status(process_facts(), {}, loop_status({web_port()}), comparison(missing));
  const std::vector<std::string> cut = lines_of(narrow(status));
  EXPECT_EQ(std::count(cut.begin(), cut.end(), "    - a rule"), 20);
  EXPECT_EQ(std::count(cut.begin(), cut.end(), "    - and 10 more"), 1);
  const std::vector<std::string> whole = lines_of(status_text(status, Width::kWide, kNow));
  EXPECT_EQ(std::count(whole.begin(), whole.end(), "    - a rule"), 30);
}

TEST(StatusText, AFailedSyncNamesTheReason) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].last_error = "iptables-restore: line 3 failed";
  const Status status = make_status(process_facts(), {}, loop, comparison({}));
  EXPECT_FALSE(serves_as_wanted(status));
  EXPECT_THAT(narrow(status), HasSubstr("last sync failed: iptables-restore: line 3 failed"));
}

TEST(StatusText, APortThatTheKernelRefusesIsNotServedAsWantedAndNamesTheReason) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].refused_ports = {{web_port().key, "protocol not supported", kNow - std::chrono::seconds(40), 5}};
  const Status status = make_status(process_facts(), {}, loop, comparison({}));
  EXPECT_FALSE(serves_as_wanted(status));
  EXPECT_THAT(
      narrow(status),
      HasSubstr("    refused by the kernel: default/web:http TCP for 40 s, tried 5 times: protocol not supported\n"));
}

// Also in the table, where a user who searches for the Service's name looks.
TEST(StatusText, TheRowOfAPortThatTheKernelRefusesIsMarked) {
  plan::PortDraft other = web_port();
  other.key.service.name = "other";
  sync::LoopStatus loop = loop_status({other, web_port()});
  loop.families[0].refused_ports = {{web_port().key, "protocol not supported", kNow - std::chrono::seconds(40), 5}};
  for (const Width width : {Width::kNarrow, Width::kWide}) {
    const std::string text = status_text(make_status(process_facts(), {}, loop, comparison({})), width, kNow);
    std::size_t marked = 0;
    for (const std::string& line : lines_of(text)) {
      if (line.find("(refused by the kernel)") == std::string::npos) continue;
      ++marked;
      EXPECT_THAT(line, testing::StartsWith("default/web:http "));
    }
    EXPECT_EQ(marked, 1u);
  }
}

TEST(StatusText, WhatTheKernelDoesNotLetGoIsNamed) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].unremoved = {"nat chain KUBE-SVC-X: in use"};
  EXPECT_THAT(narrow(make_status(process_facts(), {}, loop, comparison({}))),
              HasSubstr("    not removed by the kernel: nat chain KUBE-SVC-X: in use\n"));
}

TEST(StatusText, WhatAPlaneCannotDoStandsInTheWideForm) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].planes = {{"ipvs", sync::Stage::kServing}, {"iptables", sync::Stage::kRetiring}};
  loop.families[0].capabilities.lacks = {{dataplane::Gap::kPoolBySource, "one list for all"}};
  const Status status = make_status(process_facts(), {}, loop, comparison({}));
  EXPECT_THAT(narrow(status), HasSubstr("    data plane iptables: retiring\n"));
  EXPECT_THAT(narrow(status), Not(HasSubstr("cannot do")));
  EXPECT_THAT(status_text(status, Width::kWide, kNow), HasSubstr("    cannot do pool-by-source: one list for all\n"));
}

TEST(StatusText, AComparisonThatFailedSaysWhy) {
  std::vector<sync::FamilyComparison> failed;
  failed.push_back({Family::kIPv4, fail(Errc::kUnavailable, "iptables-save was killed")});
  const Status status = make_status(process_facts(), {}, loop_status({web_port()}), failed);
  EXPECT_FALSE(serves_as_wanted(status));
  EXPECT_THAT(narrow(status), HasSubstr("live cannot be compared: iptables-save was killed\n"));
}

TEST(StatusText, BeforeTheFirstListNothingIsAsWanted) {
  const Status status = make_status(process_facts(), {}, sync::LoopStatus{}, {});
  EXPECT_FALSE(serves_as_wanted(status));
  EXPECT_THAT(narrow(status), HasSubstr("the first list is not complete yet"));
}

TEST(StatusText, AProxyThatStartsSaysWhatItWaitsForAndHowLong) {
  ProcessFacts process = process_facts();
  process.flavour.clear();
  const Status status = starting_status(
      process, {{"Node \"k8s-node1\"", "it is not found; there are a, b", kNow - std::chrono::seconds(12)}});
  EXPECT_FALSE(serves_as_wanted(status));
  EXPECT_EQ(narrow(status), "Sluice " SLUICE_VERSION
                            ", pid 4711, mode iptables, node k8s-node1, up 90 s\n"
                            "files in /m\n"
                            "waiting for Node \"k8s-node1\" for 12 s: it is not found; there are a, b\n");
}

TEST(StatusText, AClockThatWasSetBackGivesNoNegativeAge) {
  EXPECT_THAT(status_text(serving_status(), Width::kNarrow, kNow - std::chrono::hours(1)), HasSubstr("up 0 s"));
}

TEST(StatusText, AServiceOfManyEndpointsTakesOneReadableLine) {
  const std::vector<std::string> lines = lines_of(narrow(serving_status({large_port(), web_port()})));
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(lines[5],
            "default/large:http  TCP    10.104.247.10:80  192.0.2.1:80  192.0.2.2:80  and 4 more  "
            "10.9.0.1:80  10.9.0.2:80  10.9.0.3:80  and 1497 more");
  // The long cell moves its own row alone.
  EXPECT_EQ(lines[6],
            "default/web:http    TCP    10.104.247.10:80  *:31947" + std::string(25, ' ') + "10.244.169.161:80");
}

TEST(StatusText, ALongNameIsWholeAndMovesItsOwnRowAlone) {
  plan::PortDraft port = web_port();
  port.key.service = {std::string(63, 'n'), std::string(63, 's')};
  const std::vector<std::string> lines = lines_of(narrow(serving_status({port, web_port()})));
  EXPECT_THAT(lines[5], testing::StartsWith(std::string(63, 'n') + "/" + std::string(63, 's') + ":http  TCP  "));
  EXPECT_THAT(lines[6], testing::StartsWith("default/web:http" + std::string(24, ' ') + "  TCP  "));
}

TEST(StatusText, WideShowsEveryAddressAndRealServerOnALineOfItsOwn) {
  const std::string text = status_text(serving_status({large_port()}), Width::kWide, kNow);
  const std::vector<std::string> lines = lines_of(text);
  EXPECT_EQ(lines.size(), 5U + 1500U);
  EXPECT_EQ(lines[4], "SERVICE PORT        PROTO  ADDRESSES         REAL SERVERS");
  EXPECT_EQ(lines[5], "default/large:http  TCP    10.104.247.10:80  10.9.0.1:80");
  EXPECT_EQ(lines[6], "                           192.0.2.1:80      10.9.0.2:80");
  EXPECT_EQ(lines[11], "                           *:31947           10.9.0.7:80");
  EXPECT_EQ(lines.back(), "                                             10.9.5.250:80");
  EXPECT_THAT(text, Not(HasSubstr("more")));
}

TEST(StatusText, APortWithoutRealServersSaysWhatHappensToItsPackets) {
  plan::PortDraft nobody = web_port();
  nobody.real_servers.clear();
  plan::PortDraft elsewhere = nobody;
  nobody.has_endpoints = false;
  elsewhere.internal_local = elsewhere.external_local = true;
  EXPECT_THAT(narrow(serving_status({nobody})), testing::EndsWith("*:31947  (none: rejected)\n"));
  EXPECT_THAT(narrow(serving_status({elsewhere})), testing::EndsWith("*:31947  (none on this node: dropped)\n"));
}

TEST(StatusText, IfClientsDifferItShowsWhichPolicySelectsARealServer) {
  plan::PortDraft port = web_port();
  port.external_local = true;
  port.real_servers = {real_server("10.0.0.1"), real_server("10.0.0.2"), real_server("10.0.0.3")};
  port.real_servers[1].in_local_pool = true;
  port.real_servers[2].in_local_pool = true;
  port.real_servers[2].in_cluster_pool = false;
  EXPECT_THAT(narrow(serving_status({port})),
              testing::EndsWith("10.0.0.1:80(cluster)  10.0.0.2:80  10.0.0.3:80(local)\n"));
}

TEST(StatusText, ARefusedAddressIsMarkedAndItsReasonIsShown) {
  plan::PortDraft port = web_port();
  port.external_ips = {*IpAddress::parse("192.0.2.7")};
  sync::LoopStatus loop = loop_status({port});
  loop.families[0].refusals = {
      {port.key, refused(port.external_ips[0]), "192.0.2.7 is an address of this node (eth0)"}};
  const std::string text = narrow(make_status(process_facts(), {}, loop, comparison({})));
  EXPECT_THAT(text,
              HasSubstr("\n    refused: default/web:http TCP 192.0.2.7:80: 192.0.2.7 is an address of this node"));
  EXPECT_THAT(text, HasSubstr("10.104.247.10:80  192.0.2.7:80 (refused)  *:31947"));
}

TEST(StatusText, AnUnmetRequestNamesTheService) {
  sync::LoopStatus loop = loop_status({web_port()});
  loop.families[0].unmet_requests = {{{"default", "web"}, "no lc here"}};
  EXPECT_THAT(narrow(make_status(process_facts(), {}, loop, comparison({}))),
              HasSubstr("\n    requested but not supported: default/web: no lc here\n"));
}

}  // namespace
}  // namespace sluice::view
