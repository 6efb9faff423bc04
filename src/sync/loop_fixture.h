// SPDX-License-Identifier: Apache-2.0
// For tests: a control loop on a clock that the test moves, over two fake data planes, with hooks that record their
// calls.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/ip_literals.h"
#include "dataplane/fake_data_plane.h"
#include "dataplane/fake_mechanism.h"
#include "plan/test_objects.h"
#include "sync/control_loop.h"

namespace sluice::sync::test {

using dataplane::FakeDataPlane;
using dataplane::FakeKernel;
using plan::test::make_service;
using plan::test::make_slice;
using plan::test::service_port;
using plan::test::slice_port;

class LoopFixture : public testing::Test {
 protected:
  LoopFixture() {
    settings_.plan.node_name = "self";
    hooks_.sync_health_checks = [this](std::vector<observe::HealthCheck> checks) {
      health_checks_.push_back(std::move(checks));
    };
    hooks_.fatal = [this](std::string why) { fatal_.push_back(std::move(why)); };
    hooks_.delete_udp_flows = [this](Family family,
                                     const std::function<bool(const sys::Flow&)>& stale) -> Result<std::size_t> {
      dumps_.push_back(family);
      if (dumps_fail_) return fail(Errc::kPermission, "the fake table is locked");
      std::erase_if(flows_, stale);
      return std::size_t{1};
    };
    hooks_.local_addresses = []() -> Result<std::vector<IpAddress>> { return std::vector<IpAddress>{ip("192.0.2.1")}; };
  }

  void TearDown() override {
    for (const FakeDataPlane* plane : planes_) {
      if (plane != nullptr) {
        EXPECT_EQ(plane->violations, std::vector<std::string>{});
      }
    }
  }

  // A loop as after a restart: what is in kernels_ stays.
  void make_loop() {
    std::vector<std::unique_ptr<dataplane::DataPlane>> planes;
    for (const Family family : kFamilies) {
      const auto index = static_cast<std::size_t>(family);
      auto plane = std::make_unique<FakeDataPlane>(family, kernels_[index]);
      plane->mode = mode_;
      planes_[index] = plane.get();
      planes.push_back(std::move(plane));
    }
    loop_ = std::make_unique<ControlLoop>(settings_, hooks_, clock_, metrics_, health_, std::move(planes),
                                          std::vector<dataplane::Mechanism*>{&mode_mechanism_, &other_mode_});
  }

  FakeDataPlane& v4() { return *planes_[0]; }
  FakeDataPlane& v6() { return *planes_[1]; }

  void post(model::Update update) { loop_->post(std::move(update)); }
  void step() { wake_ = loop_->step(); }
  void step_after(std::chrono::nanoseconds duration) {
    clock_.advance(duration);
    step();
  }

  // Both lists are complete with this.
  static model::Update complete(model::Update update = {}) {
    update.services_complete = true;
    update.slices_complete = true;
    return update;
  }
  static model::Update with(std::vector<model::Service> services, std::vector<model::EndpointSlice> slices = {}) {
    model::Update update;
    update.services = std::move(services);
    update.slices = std::move(slices);
    return update;
  }
  // Service shop/web on 10.96.0.1 and fd00::1 with one endpoint in each family, programmed; min_sync_period has passed.
  void start_with_web() {
    make_loop();
    post(complete(with({web()}, {web_slice({"10.1.0.1"}), web_slice6({"fd01::1"})})));
    step();
    clock_.advance(settings_.min_sync_period);
    ASSERT_EQ(v4().applied.size(), 1u);
    ASSERT_EQ(v6().applied.size(), 1u);
  }
  static model::Service web(std::uint16_t port = 80) {
    return make_service("web", {service_port("p", port)}, {"10.96.0.1", "fd00::1"});
  }
  static model::EndpointSlice web_slice(const std::vector<std::string>& endpoints) {
    return make_slice("web-4", "web", {slice_port("p", 8080)}, endpoints);
  }
  static model::EndpointSlice web_slice6(const std::vector<std::string>& endpoints) {
    return make_slice("web-6", "web", {slice_port("p", 8080)}, endpoints, Family::kIPv6);
  }

  static model::Node this_node() {
    model::Node node;
    node.name = "self";
    return node;
  }
  static void leave_behind(FakeKernel& kernel, const std::string& name) {
    auto port = std::make_shared<plan::ServicePortPlan>();
    port->key.service = {"shop", name};
    kernel.live[port->key] = port;
  }

  // The value of one line of the metrics; nothing if there is no such line.
  [[nodiscard]] std::optional<double> metric(const std::string& name) const {
    const std::string text = "\n" + metrics_.text();
    const std::size_t at = text.find("\n" + name + " ");
    if (at == std::string::npos) return std::nullopt;
    return std::strtod(text.c_str() + at + name.size() + 2, nullptr);
  }
  [[nodiscard]] std::optional<double> metric4(const std::string& name) const {
    return metric(name + "{ip_family=\"IPv4\"}");
  }

  std::string mode_ = "fake";  // of the planes that make_loop() makes
  dataplane::FakeMechanism mode_mechanism_{"fake"};
  dataplane::FakeMechanism other_mode_{"other"};
  FakeClock clock_;
  observe::Metrics metrics_;
  observe::Health health_{clock_, std::chrono::seconds(60)};
  LoopSettings settings_;
  LoopHooks hooks_;
  std::array<FakeKernel, 2> kernels_;
  std::array<FakeDataPlane*, 2> planes_{};
  std::unique_ptr<ControlLoop> loop_;
  Clock::SteadyTime wake_{};

  std::vector<std::vector<observe::HealthCheck>> health_checks_;
  std::vector<std::string> fatal_;
  std::vector<Family> dumps_;
  std::vector<sys::Flow> flows_;
  bool dumps_fail_ = false;
};

}  // namespace sluice::sync::test
