// SPDX-License-Identifier: Apache-2.0
// Objects as made by bad luck, hasty controllers and users with a text editor: endpoints that wander through a
// hundred slices, Services that are removed and come back different, two that claim the same address. The rule is the
// same each time: what can be served is served, and no Service suffers from another one's mistake.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "plan/planner.h"
#include "plan/test_objects.h"

namespace sluice::plan {
namespace {

using namespace test;
using model::Update;

class HostileCluster : public testing::Test {
 protected:
  std::vector<Change> apply(Update update) {
    return planner_.update(snapshot_, snapshot_.apply(std::move(update)).services);
  }
  std::vector<Change> set(model::Service service) {
    Update update;
    update.services.push_back(std::move(service));
    return apply(std::move(update));
  }
  std::vector<Change> set(model::EndpointSlice slice) {
    Update update;
    update.slices.push_back(std::move(slice));
    return apply(std::move(update));
  }
  // Null where that port is not served.
  ServicePortPlanPtr port(const std::string& service, Family family = Family::kIPv4, const std::string& name = "p",
                          Protocol protocol = Protocol::kTcp) const {
    const auto found = planner_.plan().services.find({"shop", service});
    if (found == planner_.plan().services.end()) return nullptr;
    for (const ServicePortPlanPtr& each : found->second.ports) {
      if (each->key.family == family && each->key.port_name == name && each->key.protocol == protocol) return each;
    }
    return nullptr;
  }
  // The plan that a fresh Planner makes of the Snapshot, without its history.
  void expect_no_memory_of_the_way() const {
    Planner fresh(kSettings);
    (void)fresh.replan_all(snapshot_, planner_.facts());
    ASSERT_EQ(fresh.plan().services.size(), planner_.plan().services.size());
    for (const auto& [key, service] : fresh.plan().services) {
      const auto& followed = planner_.plan().services.at(key).ports;
      ASSERT_EQ(followed.size(), service.ports.size()) << key.to_string();
      for (std::size_t i = 0; i < followed.size(); ++i) ASSERT_EQ(*followed[i], *service.ports[i]) << key.to_string();
    }
  }

  model::Snapshot snapshot_;
  Planner planner_{kSettings};
};

model::Service web(const std::vector<std::string>& cluster_ips = {"10.96.0.1"}) {
  return make_service("web", {service_port("p", 80)}, cluster_ips);
}

// The controller moves an endpoint by writing the slice that gains it and the one that loses it, in unknown
// order; a copy may stay behind for a while, also one that terminates. While at least one slice holds a ready
// copy, the endpoint is served, and it is in the list once.
TEST_F(HostileCluster, EndpointsThatWanderThroughAHundredSlicesAreServedAllTheWhile) {
  constexpr std::size_t kSlices = 100;
  constexpr unsigned kEndpoints = 60;
  std::mt19937 random(20261126);
  const auto below = [&random](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
  enum class Copy { kReady, kTerminating };
  std::vector<std::map<unsigned, Copy>> held(kSlices);  // by slice: which endpoints
  const auto write = [&](std::size_t index) {
    std::vector<std::string> endpoints;
    for (const auto& [number, copy] : held[index]) {
      endpoints.push_back("10.1.0." + std::to_string(number) +
                          (copy == Copy::kTerminating ? " unready serving terminating" : ""));
    }
    std::shuffle(endpoints.begin(), endpoints.end(), random);
    if (!endpoints.empty()) endpoints.push_back(endpoints.front());  // twice in one slice
    return make_slice("web-" + std::to_string(index), "web", {slice_port("p", 8080)}, endpoints);
  };
  set(web());
  for (unsigned number = 1; number <= kEndpoints; ++number) held[below(kSlices)][number] = Copy::kReady;
  for (std::size_t i = 0; i < kSlices; ++i) set(write(i));

  std::string everybody;
  {
    std::set<std::string> sorted;
    for (unsigned number = 1; number <= kEndpoints; ++number)
      sorted.insert("10.1.0." + std::to_string(number) + ":8080");
    for (const std::string& text : sorted) everybody += (everybody.empty() ? "" : " ") + text;
  }
  ASSERT_EQ(reachable_text(*port("web")), everybody);
  for (int step = 0; step < 400; ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const std::size_t from = below(kSlices);
    if (held[from].empty()) continue;
    const unsigned number = std::next(held[from].begin(), static_cast<long>(below(held[from].size())))->first;
    const std::size_t to = below(kSlices);
    if (to == from || held[from][number] == Copy::kTerminating) continue;
    held[to][number] = Copy::kReady;
    set(write(to));
    ASSERT_EQ(reachable_text(*port("web")), everybody);
    // A copy that is left behind is either removed at once or terminates there first.
    if (below(2) == 0) {
      held[from][number] = Copy::kTerminating;
    } else {
      held[from].erase(number);
    }
    ASSERT_TRUE(set(write(from)).empty()) << "a copy that goes changes nothing";
    ASSERT_EQ(reachable_text(*port("web")), everybody);
    ASSERT_EQ(port("web")->endpoints_known, kEndpoints);
  }
  expect_no_memory_of_the_way();
}

TEST_F(HostileCluster, AFamilyWhoseSlicesComeLateIsRefusedWhileTheOtherIsServed) {
  set(web({"10.96.0.1", "fd00::1"}));
  set(make_slice("web-4", "web", {slice_port("p", 80)}, {"10.1.0.1"}));
  EXPECT_EQ(port("web")->internal.outside.verdict, Verdict::kForward);
  EXPECT_EQ(port("web", Family::kIPv6)->internal.outside.verdict, Verdict::kReject);
  const ServicePortPlanPtr four = port("web");
  const auto changes = set(make_slice("web-6", "web", {slice_port("p", 80)}, {"fd01::1"}, Family::kIPv6));
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].key().family, Family::kIPv6);
  EXPECT_EQ(port("web", Family::kIPv6)->internal.outside.verdict, Verdict::kForward);
  EXPECT_EQ(port("web"), four) << "the other family's plan is the same object";
}

TEST_F(HostileCluster, ARecreatedServiceMayHaveAnotherAddressOrFamily) {
  struct Row {
    const char* name;
    std::vector<std::string> before;
    std::vector<std::string> after;
  };
  const Row rows[] = {
      {"another cluster IP", {"10.96.0.1"}, {"10.96.0.2"}},
      {"the other family", {"10.96.0.1"}, {"fd00::1"}},
      {"one family more", {"10.96.0.1"}, {"10.96.0.1", "fd00::1"}},
      {"one family less", {"10.96.0.1", "fd00::1"}, {"fd00::1"}},
      {"the families in the other order", {"10.96.0.1", "fd00::1"}, {"fd00::1", "10.96.0.1"}},
  };
  set(make_slice("web-4", "web", {slice_port("p", 80)}, {"10.1.0.1"}));
  set(make_slice("web-6", "web", {slice_port("p", 80)}, {"fd01::1"}, Family::kIPv6));
  for (const Row& row : rows) {
    for (const bool in_one_update : {true, false}) {
      SCOPED_TRACE(std::string(row.name) + (in_one_update ? ", in one Update" : ", in two"));
      set(web(row.before));
      Update update;
      update.services_removed = {{"shop", "web"}};
      if (!in_one_update) {
        apply(std::move(update));
        EXPECT_TRUE(planner_.plan().services.empty());
        update = {};
      }
      update.services = {web(row.after)};
      apply(std::move(update));
      std::vector<std::string> served;
      for (const ServicePortPlanPtr& each : planner_.plan().services.at({"shop", "web"}).ports) {
        served.push_back(each->cluster_frontend()->address.to_string());
        EXPECT_EQ(reachable_text(*each), each->key.family == Family::kIPv4 ? "10.1.0.1:80" : "[fd01::1]:80")
            << "its slices were there all the time";
      }
      std::vector<std::string> wanted = row.after;
      std::sort(served.begin(), served.end());
      std::sort(wanted.begin(), wanted.end());
      EXPECT_EQ(served, wanted);
      expect_no_memory_of_the_way();
    }
  }
}

TEST_F(HostileCluster, SlicesMayBeRemovedBeforeOrAfterTheirServiceOrWithIt) {
  struct Row {
    const char* name;
    std::vector<const char*> steps;
  };
  const Row rows[] = {
      {"the Service first", {"service", "slice"}},
      {"the slice first", {"slice", "service"}},
      {"both at once", {"both"}},
      {"each twice", {"slice", "service", "service", "slice"}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    set(web());
    set(make_slice("web-1", "web", {slice_port("p", 80)}, {"10.1.0.1"}));
    ASSERT_EQ(reachable_text(*port("web")), "10.1.0.1:80");
    for (const std::string step : row.steps) {
      Update update;
      if (step != "slice") update.services_removed = {{"shop", "web"}};
      if (step != "service") update.slices_removed = {{"shop", "web-1"}};
      apply(std::move(update));
    }
    EXPECT_TRUE(planner_.plan().services.empty());
    set(web());
    EXPECT_EQ(reachable_text(*port("web")), "") << "nothing of the old slice comes back";
    Update update;
    update.services_removed = {{"shop", "web"}};
    apply(std::move(update));
  }
}

TEST_F(HostileCluster, ASliceMayMoveToAServiceThatIsNotThereYetAndBack) {
  set(web());
  set(make_slice("s", "web", {slice_port("p", 80)}, {"10.1.0.1"}));
  EXPECT_EQ(set(make_slice("s", "api", {slice_port("p", 80)}, {"10.1.0.1"})).size(), 1U);
  EXPECT_EQ(reachable_text(*port("web")), "");
  set(make_service("api", {service_port("p", 80)}, {"10.96.0.2"}));
  EXPECT_EQ(reachable_text(*port("api")), "10.1.0.1:80");
  set(make_slice("s", "web", {slice_port("p", 80)}, {"10.1.0.1"}));
  EXPECT_EQ(reachable_text(*port("web")), "10.1.0.1:80");
  EXPECT_EQ(reachable_text(*port("api")), "");
  set(make_slice("s", "", {slice_port("p", 80)}, {"10.1.0.1"}));
  EXPECT_EQ(reachable_text(*port("web")), "") << "a slice without the label belongs to no Service";
}

TEST_F(HostileCluster, ARecreatedSliceMayBeOfTheOtherFamily) {
  set(web({"10.96.0.1", "fd00::1"}));
  set(make_slice("s", "web", {slice_port("p", 80)}, {"10.1.0.1"}));
  Update update;
  update.slices_removed = {{"shop", "s"}};
  update.slices = {make_slice("s", "web", {slice_port("p", 80)}, {"fd01::1"}, Family::kIPv6)};
  EXPECT_EQ(apply(std::move(update)).size(), 2U);
  EXPECT_EQ(reachable_text(*port("web")), "");
  EXPECT_EQ(reachable_text(*port("web", Family::kIPv6)), "[fd01::1]:80");
}

// Kubernetes does not define which Service gets an address that two Services claim; here it is the older one
// (planner_claims_test.cc). The other is served at the rest, and its end leaves the first unchanged.
TEST_F(HostileCluster, AServiceThatClaimsWhatAnOlderOneHasIsServedAtTheRest) {
  const auto greedy = [](const char* name, const char* cluster_ip) {
    model::Service service = make_service(name, {service_port("p", 80, Protocol::kTcp, 30080)}, {cluster_ip});
    service.type = model::ServiceType::kLoadBalancer;
    service.external_ips = ips({"198.51.100.1", "10.96.0.1"});  // and the other one's cluster IP
    service.has_external_ips = true;
    service.ingress = {{ip("203.0.113.1")}, {ip("198.51.100.1")}};
    service.created = std::string_view(name) == "web" ? 1 : 2;
    return service;
  };
  set(greedy("web", "10.96.0.1"));
  const ServicePortPlanPtr first = port("web");
  const auto changes = set(greedy("api", "10.96.0.2"));
  ASSERT_EQ(changes.size(), 1U);
  EXPECT_EQ(changes[0].key().service.name, "api");
  EXPECT_EQ(port("web"), first);
  ASSERT_EQ(port("api")->frontends.size(), 1U);
  EXPECT_EQ(to_string(port("api")->frontends[0]), "10.96.0.2:80");
  EXPECT_EQ(port("api")->refused.size(), 5U);
  Update update;
  update.services_removed = {{"shop", "api"}};
  apply(std::move(update));
  EXPECT_EQ(port("web"), first);
}

TEST_F(HostileCluster, OneNodePortNumberServesEachProtocol) {
  model::Service service =
      make_service("dns", {service_port("t", 53, Protocol::kTcp, 30053), service_port("u", 53, Protocol::kUdp, 30053),
                           service_port("s", 53, Protocol::kSctp, 30053)});
  service.type = model::ServiceType::kNodePort;
  set(service);
  for (const auto& [name, protocol] :
       {std::pair("t", Protocol::kTcp), std::pair("u", Protocol::kUdp), std::pair("s", Protocol::kSctp)}) {
    set(make_slice("dns-" + std::string(name), "dns", {slice_port(name, 53, protocol)}, {"10.1.0.1"}));
    ASSERT_NE(port("dns", Family::kIPv4, name, protocol), nullptr);
    EXPECT_EQ(port("dns", Family::kIPv4, name, protocol)->served_node_port(), 30053);
    EXPECT_EQ(reachable_text(*port("dns", Family::kIPv4, name, protocol)), "10.1.0.1:53");
  }
}

TEST_F(HostileCluster, ASliceOfEveryPortNumberFeedsTheOneThatTheServiceNames) {
  set(web());
  model::EndpointSlice slice = make_slice("s", "web", {}, {"10.1.0.1"});
  for (unsigned number = 1; number <= 65535; ++number) {
    slice.ports.push_back(
        slice_port(number == 65535 ? "p" : "q" + std::to_string(number), static_cast<std::uint16_t>(number)));
  }
  set(slice);
  EXPECT_EQ(reachable_text(*port("web")), "10.1.0.1:65535");
  EXPECT_EQ(port("web")->endpoints_known, 1U);
}

}  // namespace
}  // namespace sluice::plan
