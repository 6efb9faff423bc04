// SPDX-License-Identifier: Apache-2.0
// Which Service is served if several claim one address and port, or one node port: the older one, whatever happened
// before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "plan/fitness.h"
#include "plan/planner.h"
#include "plan/test_follower.h"

namespace sluice::plan {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::IsEmpty;

model::Service claimant(const char* name, std::int64_t created,
                        const std::vector<std::string>& external = {"198.51.100.1"}) {
  model::Service service = make_service(name, {service_port("p", 80)});
  service.created = created;
  service.external_ips = ips(external);
  service.has_external_ips = !external.empty();
  return service;
}

// Where the port is served, without its cluster IP.
std::vector<std::string> external(const Planner& planner, const char* name) {
  std::vector<std::string> places;
  const auto service = planner.plan().services.find({"shop", name});
  if (service == planner.plan().services.end()) return {"no such Service"};
  for (const ServicePortPlanPtr& port : service->second.ports) {
    for (const Frontend& frontend : port->frontends) {
      if (!frontend.internal()) places.push_back(to_string(frontend));
    }
  }
  return places;
}

std::vector<std::string> refusals(const Planner& planner) {
  std::vector<std::string> texts;
  for (const Family family : kFamilies) {
    for (const Refusal& refusal : planner.refusals(family)) {
      texts.push_back(refusal.port.printed_name() + ": " + refusal.reason);
    }
  }
  return texts;
}

TEST(PlannerClaims, TheOlderServiceWinsWhicheverComesFirst) {
  for (const bool older_first : {true, false}) {
    Follower cluster;
    cluster.set(older_first ? claimant("web", 1) : claimant("api", 2));
    cluster.set(older_first ? claimant("api", 2) : claimant("web", 1));
    EXPECT_THAT(external(cluster.planner, "web"), ElementsAre("198.51.100.1:80"));
    EXPECT_THAT(external(cluster.planner, "api"), IsEmpty());
    EXPECT_THAT(refusals(cluster.planner), ElementsAre("shop/api:p: 198.51.100.1:80 is shop/web's, which is older"));
  }
}

TEST(PlannerClaims, OfEquallyOldServicesTheFirstByNameWins) {
  for (const std::int64_t created : {std::int64_t{7}, model::kCreatedUnknown}) {
    Follower cluster;
    cluster.set(claimant("web", created));
    EXPECT_EQ(texts(cluster.set(claimant("api", created))), (Lines{"+shop/api:p []", "~shop/web:p [] []"}));
    EXPECT_THAT(external(cluster.planner, "api"), ElementsAre("198.51.100.1:80"));
    EXPECT_THAT(refusals(cluster.planner), ElementsAre("shop/web:p: 198.51.100.1:80 is shop/api's, which "
                                                       "is as old and comes first by name"));
  }
}

TEST(PlannerClaims, OneWithoutAnAgeCountsAsTheYoungest) {
  Follower cluster;
  cluster.set(claimant("api", model::kCreatedUnknown));
  cluster.set(claimant("web", 1));
  EXPECT_THAT(external(cluster.planner, "api"), IsEmpty());
}

TEST(PlannerClaims, TheNextOneIsServedAsSoonAsTheWinnerIsRemovedOrReleasesIt) {
  Follower cluster;
  cluster.set(claimant("web", 1));
  cluster.set(claimant("api", 2));
  cluster.set(claimant("dns", 3));
  EXPECT_EQ(texts(cluster.set(claimant("web", 1, {}))),
            (Lines{"~shop/api:p [] []", "~shop/dns:p [] []", "~shop/web:p [] []"}));
  EXPECT_THAT(external(cluster.planner, "api"), ElementsAre("198.51.100.1:80"));
  EXPECT_THAT(refusals(cluster.planner), ElementsAre("shop/dns:p: 198.51.100.1:80 is shop/api's, which is older"));
  EXPECT_EQ(texts(cluster.remove_service("api")), (Lines{"-shop/api:p []", "~shop/dns:p [] []"}));
  EXPECT_THAT(external(cluster.planner, "dns"), ElementsAre("198.51.100.1:80"));
  EXPECT_THAT(refusals(cluster.planner), IsEmpty());
  cluster.remove_service("dns");
  cluster.remove_service("web");
  EXPECT_EQ(cluster.planner.plan().claims.size(), 0U);
}

TEST(PlannerClaims, OneThatWasRecreatedHasItsNewAge) {
  Follower cluster;
  cluster.set(claimant("web", 1));
  cluster.set(claimant("api", 2));
  EXPECT_EQ(texts(cluster.set(claimant("web", 3))), (Lines{"~shop/api:p [] []", "~shop/web:p [] []"}));
  EXPECT_THAT(external(cluster.planner, "api"), ElementsAre("198.51.100.1:80"));
  EXPECT_THAT(external(cluster.planner, "web"), IsEmpty());
}

TEST(PlannerClaims, AllKindsOfAddressAreOneSpaceAndNodePortsAnother) {
  const struct {
    const char* name;
    std::function<void(model::Service&)> older;
    std::function<void(model::Service&)> younger;
    std::vector<std::string> refused;
  } rows[] = {
      {"external and load-balancer IP",
       [](auto& s) { s.external_ips = ips({"198.51.100.1"}); },
       [](auto& s) { s.ingress = {{ip("198.51.100.1")}}; },
       {"198.51.100.1:80"}},
      {"cluster and external IP",
       [](auto& s) { s.cluster_ips = ips({"10.96.0.5"}); },
       [](auto& s) { s.external_ips = ips({"10.96.0.5"}); },
       {"10.96.0.5:80"}},
      {"external and cluster IP",
       [](auto& s) { s.external_ips = ips({"10.96.0.5"}); },
       [](auto& s) { s.cluster_ips = ips({"10.96.0.5"}); },
       {"10.96.0.5:80"}},
      {"two cluster IPs",
       [](auto& s) { s.cluster_ips = ips({"10.96.0.5"}); },
       [](auto& s) { s.cluster_ips = ips({"10.96.0.5"}); },
       {"10.96.0.5:80"}},
      {"two node ports",
       [](auto& s) { s.ports[0].node_port = 30080; },
       [](auto& s) { s.ports[0].node_port = 30080; },
       {"node port 30080"}},
      {"node port of another protocol",
       [](auto& s) { s.ports[0].node_port = 30080; },
       [](auto& s) {
         s.ports[0].node_port = 30080;
         s.ports[0].protocol = Protocol::kUdp;
       },
       {}},
      {"another port of one address",
       [](auto& s) { s.external_ips = ips({"198.51.100.1"}); },
       [](auto& s) {
         s.external_ips = ips({"198.51.100.1"});
         s.ports[0].port = 81;
       },
       {}},
      {"a load balancer of mode Proxy claims nothing",
       [](auto& s) { s.ingress = {{ip("198.51.100.1"), model::IpMode::kProxy}}; },
       [](auto& s) { s.external_ips = ips({"198.51.100.1"}); },
       {}},
      {"a headless one claims nothing",
       [](auto& s) {
         s.headless = true;
         s.external_ips = ips({"198.51.100.1"});
       },
       [](auto& s) { s.external_ips = ips({"198.51.100.1"}); },
       {}},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    model::Service older = claimant("web", 1, {});
    model::Service younger = claimant("api", 2, {});
    row.older(older);
    row.younger(younger);
    Follower cluster;
    cluster.set(younger);
    cluster.set(older);
    std::vector<std::string> refused;
    for (const Refusal& refusal : cluster.planner.refusals(Family::kIPv4))
      refused.push_back(to_string(refusal.frontend));
    EXPECT_EQ(refused, row.refused);
  }
}

TEST(PlannerClaims, ANodePortIsClaimedInEachFamilyOnItsOwn) {
  model::Service four = make_service("web", {service_port("p", 80, Protocol::kTcp, 30080)}, {"10.96.0.1"});
  model::Service six = make_service("api", {service_port("p", 80, Protocol::kTcp, 30080)}, {"fd00::1"});
  Follower cluster;
  cluster.set(four);
  cluster.set(six);
  EXPECT_THAT(refusals(cluster.planner), IsEmpty());
}

TEST(PlannerClaims, OfTwoPortsOfOneServiceTheFirstByNameGetsIt) {
  Follower cluster;
  cluster.set(make_service("web", {service_port("q", 80), service_port("p", 80)}));
  EXPECT_THAT(refusals(cluster.planner), ElementsAre("shop/web:q: 10.96.0.1:80 is shop/web:p's, which "
                                                     "comes first by name"));
}

TEST(PlannerClaims, AnAddressOfTwoKindsIsNotClaimedAgainstItself) {
  model::Service service = claimant("web", 1);
  service.ingress = {{ip("198.51.100.1")}};
  Follower cluster;
  cluster.set(service);
  EXPECT_THAT(refusals(cluster.planner), IsEmpty());
  EXPECT_THAT(external(cluster.planner, "web"), ElementsAre("198.51.100.1:80", "198.51.100.1:80"));
}

TEST(PlannerClaims, EndpointsOfALoserDoNotAffectTheWinner) {
  Follower cluster;
  cluster.set(claimant("web", 1));
  cluster.set(claimant("api", 2));
  EXPECT_EQ(texts(cluster.set(make_slice("s", "api", {slice_port("p", 8080)}, {"10.1.0.1"}))),
            (Lines{"~shop/api:p [] [10.1.0.1:8080]"}));
  EXPECT_THAT(external(cluster.planner, "api"), IsEmpty());
}

TEST(PlannerClaims, AnUnfitAddressIsRefusedWithAReason) {
  const char* unfit[] = {"0.0.0.0",         "127.0.0.1", "127.1.2.3", "224.0.0.1", "239.255.255.250", "169.254.169.254",
                         "255.255.255.255", "::",        "::1",       "ff02::1",   "fe80::1"};
  for (const char* address : unfit) {
    EXPECT_TRUE(why_unfit(ip(address))) << address;
    model::Service older = claimant("api", 1, {address});
    model::Service younger = claimant("web", 2, {address});
    for (model::Service* service : {&older, &younger}) {
      service->cluster_ips.push_back(ip("fd00::" + std::to_string(service->created)));
    }
    Follower cluster;
    cluster.set(older);
    cluster.set(younger);
    EXPECT_THAT(external(cluster.planner, "api"), IsEmpty()) << address;
    ASSERT_EQ(refusals(cluster.planner).size(), 2U) << address;
    EXPECT_EQ(refusals(cluster.planner)[1], "shop/web:p: " + *why_unfit(ip(address)));
    EXPECT_EQ(cluster.planner.plan().claims.size(), 4U) << "the cluster IPs";
  }
  for (const char* address :
       {"10.0.0.0", "192.0.2.255", "240.0.0.1", "100.64.0.1", "198.51.100.1", "2001:db8::1", "fd00::1"}) {
    EXPECT_FALSE(why_unfit(ip(address))) << address;
  }
}

// As v4-mapped IPv6 the same addresses are the same.
TEST(PlannerClaims, AnUnfitAddressStaysUnfitInAnotherSpelling) {
  for (const char* text : {"::ffff:127.0.0.1", "::ffff:255.255.255.255", "::ffff:169.254.169.254", "127.000.000.001"}) {
    EXPECT_TRUE(why_unfit(ip(text))) << text;
  }
}

// Against a brute-force oracle, after random histories: of each claim exactly the oldest claimant is served.
TEST(PlannerClaims, AfterEveryHistoryExactlyTheOldestIsServed) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto below = [&random](unsigned limit) { return static_cast<unsigned>(random() % limit); };
    Follower cluster;
    for (int step = 0; step < 150; ++step) {
      model::Update update;
      for (unsigned events = 1 + below(3); events > 0; --events) {
        const std::string name = "s" + std::to_string(below(6));
        if (below(4) == 0) {
          update.services_removed.push_back({"shop", name});
          std::erase_if(update.services, [&](const auto& service) { return service.key.name == name; });
          continue;
        }
        model::Service service = make_service(name, {}, {"10.96.0." + std::to_string(1 + below(6))});
        service.created = below(5) == 0 ? model::kCreatedUnknown : static_cast<std::int64_t>(below(4));
        for (unsigned ports = 1 + below(2); ports > 0; --ports) {
          service.ports.push_back(service_port("p" + std::to_string(ports), static_cast<std::uint16_t>(80 + below(2)),
                                               below(3) == 0 ? Protocol::kUdp : Protocol::kTcp,
                                               static_cast<std::uint16_t>(below(2) * (30000 + below(2)))));
        }
        service.external_ips =
            ips({"198.51.100." + std::to_string(1 + below(2)), "10.96.0." + std::to_string(1 + below(6))});
        if (below(6) == 0) service.external_ips.push_back(ip("255.255.255.255"));
        service.has_external_ips = true;
        update.services.push_back(std::move(service));
      }
      (void)cluster.apply(std::move(update));
      std::map<Claim, std::pair<std::int64_t, ObjectKey>> oldest;
      for (const ObjectKey& key : cluster.snapshot.service_keys()) {
        const model::Service& service = *cluster.snapshot.service(key);
        for (const Claim& claim : claims_of(service, kSettings)) {
          const std::pair claimed{service.created, key};
          const auto [known, first] = oldest.try_emplace(claim, claimed);
          if (!first) known->second = std::min(known->second, claimed);
        }
      }
      std::map<Claim, ServicePortKey> served;
      std::map<Claim, std::set<ObjectKey>> refused;
      for (const auto& [key, service] : cluster.planner.plan().services) {
        for (const ServicePortPlanPtr& port : service.ports) {
          for (const Frontend& frontend : port->frontends) {
            const auto [known, first] = served.try_emplace(claim_on(frontend, port->key), port->key);
            ASSERT_TRUE(first || known->second == port->key) << to_string(frontend) << " is served twice";
          }
        }
      }
      ASSERT_EQ(served.size(), oldest.size());
      for (const auto& [claim, port] : served) ASSERT_EQ(port.service, oldest.at(claim).second);
    }
  }
}

}  // namespace
}  // namespace sluice::plan
