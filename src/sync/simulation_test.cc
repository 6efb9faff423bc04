// SPDX-License-Identifier: Apache-2.0
// Random API events and faults on a clock that the test moves: applies that fail half-way, flushed and altered rules,
// restarts of the process, a connection table that cannot be written. In all cases, after some quiet what is live
// is the plan made from scratch, no UDP flow goes to an endpoint that is gone, and no other flow was deleted.
//
// SLUICE_SIM_SEED=N repeats the run of one seed, which a failure prints; SLUICE_SIM_SEEDS=N runs this many instead of a
// few.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

#include "sync/loop_fixture.h"

namespace sluice::sync {
namespace {

using namespace std::chrono_literals;
using namespace test;

class SimulationTest : public LoopFixture {
 protected:
  SimulationTest() {
    settings_.drift_repair_interval = 5min;
    hooks_.node_port_addresses = [this](Family) { return addresses_; };
    hooks_.local_addresses = [this]() -> Result<std::vector<IpAddress>> {
      if (one_in(10)) return fail(Errc::kUnavailable, "no addresses today");
      return std::vector<IpAddress>{ip("192.0.2.1"), ip("192.0.2.2")};
    };
    hooks_.delete_udp_flows = [this](Family family,
                                     const std::function<bool(const sys::Flow&)>& stale) -> Result<std::size_t> {
      if (dumps_fail_) return fail(Errc::kPermission, "the table is locked");
      const plan::Planner planner = plan_from_scratch();
      return std::erase_if(flows_, [&](const sys::Flow& flow) {
        if (flow.source.family() != family || !stale(flow)) return false;
        EXPECT_TRUE(may_be_deleted(planner.plan(), flow))
            << flow.destination.to_string() << " to " << flow.reply_source.to_string();
        return true;
      });
    };
  }

  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }
  bool one_in(std::uint32_t chances) { return below(chances) == 0; }

  model::Service random_service(std::uint32_t id) {
    const Protocol protocol = one_in(3) ? Protocol::kTcp : Protocol::kUdp;
    std::vector<model::ServicePort> ports{
        service_port("a", 53, protocol, static_cast<std::uint16_t>(one_in(2) ? 30000 + id : 0))};
    if (one_in(3)) ports.push_back(service_port("b", 54, Protocol::kUdp));
    const std::vector<std::string> addresses{fmt::format("10.96.0.{}", id + 1), fmt::format("fd00::{}", id + 1)};
    model::Service service = make_service(fmt::format("s{}", id), ports, addresses);
    service.type = ports[0].node_port != 0 ? model::ServiceType::kLoadBalancer : model::ServiceType::kClusterIp;
    if (service.type == model::ServiceType::kLoadBalancer && one_in(2)) {
      service.external_traffic_policy = model::TrafficPolicy::kLocal;
      service.health_check_node_port = static_cast<std::uint16_t>(31000 + id);
    }
    if (one_in(4)) service.internal_traffic_policy = model::TrafficPolicy::kLocal;
    if (one_in(3)) service.external_ips = {ip("198.51.100.1")};  // sometimes several Services claim it
    service.has_external_ips = !service.external_ips.empty();
    service.other_proxy = one_in(15);
    return service;
  }

  model::EndpointSlice random_slice(std::uint32_t id, Family family) {
    std::vector<std::string> endpoints;
    for (std::uint32_t n = below(4); n > 0; --n) {
      std::string words = fmt::format("{}{}", family == Family::kIPv4 ? "10.1.0." : "fd01::", 1 + below(9));
      words += one_in(2) ? " @self" : " @other";
      if (one_in(4)) words += one_in(2) ? " unready serving terminating" : " unready";
      if (one_in(3)) words += one_in(2) ? " zone=a" : " zone=b";
      endpoints.push_back(words);
    }
    auto slice =
        make_slice(fmt::format("slice{}-{}", id, to_string(family)), fmt::format("s{}", id),
                   {slice_port("a", 5353, Protocol::kUdp), slice_port("b", 5454, Protocol::kUdp)}, endpoints, family);
    if (one_in(3)) slice.ports[0].protocol = Protocol::kTcp;
    return slice;
  }

  // One event of the API, which both the loop and truth_ get.
  void random_event() {
    model::Update update;
    const std::uint32_t id = below(8);
    const Family family = one_in(2) ? Family::kIPv4 : Family::kIPv6;
    switch (below(6)) {
      case 0:
        update.services.push_back(random_service(id));
        break;
      case 1:
        if (one_in(2)) update.services_removed.push_back({"shop", fmt::format("s{}", id)});
        break;
      case 2:
        update.slices_removed.push_back({"shop", fmt::format("slice{}-{}", id, to_string(family))});
        break;
      case 3:
        update.node = this_node();
        if (!one_in(3)) update.node->labels[std::string(model::kZoneLabel)] = one_in(2) ? "a" : "b";
        break;
      default:
        update.slices.push_back(random_slice(id, family));
        break;
    }
    for (const auto& key : update.services_removed) services_.erase(key);
    for (const auto& service : update.services) services_[service.key] = service;
    for (const auto& key : update.slices_removed) slices_.erase(key);
    for (const auto& slice : update.slices) slices_[slice.key] = slice;
    if (update.node) node_ = update.node;
    post(std::move(update));
  }

  void random_fault() {
    FakeDataPlane& plane = *planes_[below(2)];
    FakeKernel& kernel = kernels_[below(2)];
    switch (below(6)) {
      case 0:
        plane.failures = static_cast<int>(1 + below(3));
        plane.fail_after = below(5);
        break;
      case 1:
        kernel.flush();
        break;
      case 2:
        if (!kernel.live.empty())
          kernel.live.erase(std::next(kernel.live.begin(), below(static_cast<std::uint32_t>(kernel.live.size()))));
        kernel.altered = altered_ = true;
        break;
      case 3:
        restart();
        break;
      case 4:
        dumps_fail_ = !dumps_fail_;
        break;
      default:
        addresses_ =
            one_in(2) ? dataplane::NodePortAddresses{} : dataplane::NodePortAddresses{false, {ip("192.0.2.1")}};
        break;
    }
  }

  // A new process: the kernel stays, the lists arrive again and in pieces.
  void restart() {
    collect_violations();
    make_loop();
    if (node_ && one_in(2)) post_node();
    for (const auto& [key, service] : services_) {
      post(with({service}));
      if (one_in(4)) step();
    }
    model::Update services;
    services.services_complete = true;
    post(std::move(services));
    step();
    for (const auto& [key, slice] : slices_) post(with({}, {slice}));
    model::Update slices;
    slices.slices_complete = true;
    post(std::move(slices));
    if (node_) post_node();
  }
  void post_node() {
    model::Update update;
    update.node = node_;
    post(std::move(update));
  }

  // A client sends: a flow by what is live now, also to destinations without endpoints.
  void random_flow() {
    const FakeKernel& kernel = kernels_[below(2)];
    if (kernel.live.empty()) return;
    const auto port = std::next(kernel.live.begin(), below(static_cast<std::uint32_t>(kernel.live.size())))->second;
    const bool has_external_ip =
        port->frontends.size() > 1 && port->frontends[1].kind == plan::FrontendKind::kExternalIp;
    const bool external = has_external_ip && one_in(2);
    const plan::Frontend& cluster_ip = port->frontends.front();
    const plan::Frontend& to = external ? port->frontends[1] : cluster_ip;
    sys::Flow flow{port->key.protocol, cluster_ip.address, to.address, {}, next_source_port_++, to.port, 0, 0};
    flow.reply_source = flow.destination;
    flow.reply_source_port = flow.destination_port;
    // Endpoints elsewhere and policy Local: dropped, so there is no flow. Or another Service that claims the same
    // address has some.
    if (port->real_servers.empty() && served_by_anybody(kernel, flow)) return;
    if (!port->real_servers.empty()) {
      const plan::RealServer& server = port->real_servers[below(static_cast<std::uint32_t>(port->real_servers.size()))];
      flow.reply_source = server.address;
      flow.reply_source_port = server.port;
    }
    flows_.push_back(flow);
  }

  static bool served_by_anybody(const FakeKernel& kernel, const sys::Flow& flow) {
    return std::any_of(kernel.live.begin(), kernel.live.end(), [&flow](const auto& entry) {
      return answers_at(*entry.second, flow) && !entry.second->serving.empty();
    });
  }

  static bool answers_at(const plan::ServicePortPlan& port, const sys::Flow& flow) {
    if (port.key.protocol != Protocol::kUdp) return false;
    return std::any_of(port.frontends.begin(), port.frontends.end(), [&flow](const plan::Frontend& frontend) {
      return frontend.kind != plan::FrontendKind::kNodePort && frontend.address == flow.destination &&
             frontend.port == flow.destination_port;
    });
  }

  [[nodiscard]] plan::Planner plan_from_scratch() const {
    model::Snapshot snapshot;
    model::Update all;
    for (const auto& [key, service] : services_) all.services.push_back(service);
    for (const auto& [key, slice] : slices_) all.slices.push_back(slice);
    snapshot.apply(std::move(all));
    plan::NodeFacts facts;
    if (node_) {
      const auto zone = node_->labels.find(std::string(model::kZoneLabel));
      if (zone != node_->labels.end()) facts.zone = zone->second;
    }
    plan::Planner planner(settings_.plan);
    planner.replan_all(snapshot, facts);
    return planner;
  }

  // The endpoints of all UDP ports that are served where `flow` went.
  static std::set<plan::AddressPort> endpoints_of(const plan::Plan& plan, const sys::Flow& flow) {
    std::set<plan::AddressPort> endpoints;
    for (const auto& [key, service] : plan.services) {
      for (const auto& port : service.ports) {
        if (!answers_at(*port, flow)) continue;
        endpoints.insert(port->serving.begin(), port->serving.end());
        for (const auto& server : port->real_servers) endpoints.insert({server.address, server.port});
      }
    }
    return endpoints;
  }

  static bool may_be_deleted(const plan::Plan& plan, const sys::Flow& flow) {
    const auto endpoints = endpoints_of(plan, flow);
    const bool translated = flow.reply_source != flow.destination || flow.reply_source_port != flow.destination_port;
    return flow.protocol == Protocol::kUdp && !endpoints.contains({flow.reply_source, flow.reply_source_port}) &&
           (translated || !endpoints.empty());
  }

  void quiet() {
    for (FakeDataPlane* plane : planes_) plane->failures = 0;
    dumps_fail_ = false;
    const auto end =
        clock_.steady_now() + (altered_ ? settings_.drift_repair_interval : 0s) + 2 * settings_.sync_period + 2s;
    altered_ = false;
    step();
    int turns = 0;
    while (clock_.steady_now() < end) {
      step_after(std::max<std::chrono::nanoseconds>(wake_ - clock_.steady_now(), 1ms));
      ASSERT_LT(++turns, 500) << "the loop does not come to rest";
    }
  }

  void expect_all_is_well() {
    const plan::Planner planner = plan_from_scratch();
    std::array<std::map<plan::ServicePortKey, plan::ServicePortPlanPtr>, 2> wanted;
    for (const auto& [key, service] : planner.plan().services) {
      for (const auto& port : service.ports) wanted[static_cast<std::size_t>(port->key.family)][port->key] = port;
    }
    for (const Family family : kFamilies) {
      const auto index = static_cast<std::size_t>(family);
      SCOPED_TRACE(to_string(family));
      ASSERT_EQ(kernels_[index].live.size(), wanted[index].size());
      for (const auto& [key, port] : wanted[index]) {
        ASSERT_TRUE(kernels_[index].live.contains(key)) << key.printed_name();
        EXPECT_EQ(*kernels_[index].live[key], *port) << key.printed_name();
      }
      EXPECT_TRUE(kernels_[index].canary);
      EXPECT_EQ(kernels_[index].node_port_addresses, addresses_);
      EXPECT_EQ(loop_->status().families.at(index).changes_waiting, 0u);
    }
    EXPECT_EQ(loop_->status().served.size(), wanted[0].size() + wanted[1].size());
    EXPECT_TRUE(health_.healthy());
    std::size_t checks = 0;
    std::size_t wanted_checks = 0;
    for (const auto& [key, check] : planner.health_checks()) {
      wanted_checks += static_cast<std::size_t>(std::count(check.served.begin(), check.served.end(), true));
    }
    for (const auto& check : health_checks_.back()) {
      const auto& expected = planner.health_checks().at({check.namespace_name, check.name});
      EXPECT_EQ(check.port, expected.port);
      EXPECT_EQ(check.local_endpoints, expected.local_ready[static_cast<std::size_t>(check.family)]);
      ++checks;
    }
    EXPECT_EQ(checks, wanted_checks);
    for (const sys::Flow& flow : flows_) {
      const auto endpoints = endpoints_of(planner.plan(), flow);
      if (flow.protocol != Protocol::kUdp || endpoints.empty()) continue;
      EXPECT_TRUE(endpoints.contains({flow.reply_source, flow.reply_source_port}))
          << flow.destination.to_string() << " still goes to " << flow.reply_source.to_string();
    }
  }

  void collect_violations() {
    for (const FakeDataPlane* plane : planes_) {
      if (plane == nullptr) continue;
      EXPECT_EQ(plane->violations, std::vector<std::string>{});
    }
    planes_ = {};
  }

  void TearDown() override { collect_violations(); }

  std::mt19937 random_;
  std::map<model::ObjectKey, model::Service> services_;
  std::map<model::ObjectKey, model::EndpointSlice> slices_;
  std::optional<model::Node> node_;
  dataplane::NodePortAddresses addresses_;
  bool altered_ = false;
  std::uint16_t next_source_port_ = 1;
};

TEST_F(SimulationTest, AfterQuietWhatIsLiveIsThePlan) {
  const char* given = std::getenv("SLUICE_SIM_SEED");
  const std::uint32_t first_seed =
      given != nullptr ? static_cast<std::uint32_t>(std::strtoul(given, nullptr, 10)) : std::random_device{}();
  const char* wanted = std::getenv("SLUICE_SIM_SEEDS");
  const int seeds = given != nullptr ? 1 : wanted != nullptr ? std::atoi(wanted) : 4;
  for (int i = 0; i < seeds && !HasFailure(); ++i) {
    const std::uint32_t seed = first_seed + static_cast<std::uint32_t>(i);
    SCOPED_TRACE(fmt::format("SLUICE_SIM_SEED={}", seed));
    random_.seed(seed);
    settings_.min_sync_period = one_in(2) ? 0s : 1s;
    restart();
    for (int round = 0; round < 25 && !HasFailure(); ++round) {
      for (int action = 0; action < 40; ++action) {
        random_event();
        if (one_in(12)) random_fault();
        if (one_in(2)) step_after(std::chrono::milliseconds(below(3000)));
        for (int n = 0; n < 3; ++n) random_flow();
        if (one_in(20)) step_after(std::chrono::seconds(below(60)));
      }
      quiet();
      expect_all_is_well();
      // The oldest flows end by themselves.
      if (flows_.size() > 100) flows_.erase(flows_.begin(), flows_.end() - 100);
    }
  }
}

}  // namespace
}  // namespace sluice::sync
