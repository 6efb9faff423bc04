// SPDX-License-Identifier: Apache-2.0
// The fake under the contract suite: sync's tests rely on it.
#include "dataplane/fake_data_plane.h"

#include "dataplane/contract_suite.h"

namespace sluice::dataplane {
namespace {

class FakeRig : public PlaneRig {
 public:
  std::unique_ptr<DataPlane> open() override {
    auto plane = std::make_unique<FakeDataPlane>(Family::kIPv4, kernel_);
    plane->refuse = [this](const plan::ServicePortKey& key) {
      return refused_.contains(key.service.name) ? "the fake kernel does not know it" : "";
    };
    if (left_ != kNever) end(*plane);
    opened_ = plane.get();
    return plane;
  }
  std::vector<std::string> everything() override {
    std::vector<std::string> all;
    for (const auto& [key, port] : kernel_.live) all.push_back(key.printed_name() + servers(*port));
    if (kernel_.canary) all.emplace_back("canary");
    if (kernel_.retired) all.emplace_back("retired");
    return all;
  }
  std::set<std::string> reached_by(const IpAddress& address, std::uint16_t number) override {
    std::set<std::string> reached;
    if (kernel_.retired) return reached;
    for (const auto& [key, port] : kernel_.live) {
      const plan::Frontend* cluster_ip = port->cluster_frontend();
      if (cluster_ip == nullptr || cluster_ip->address != address || cluster_ip->port != number) continue;
      for (const plan::RealServer& server : port->real_servers) reached.insert(server.to_string());
    }
    return reached;
  }
  // This kernel has nothing that could be another's.
  void add_foreign_objects() override {}
  bool foreign_objects_stand() override { return true; }
  void damage() override { kernel_.flush(); }
  bool change_node() override {
    kernel_.node_changed = true;
    return true;
  }
  void refuse(model::Service& service) override { refused_.insert(service.key.name); }
  void let_in(model::Service& service) override { refused_.erase(service.key.name); }
  void end_process_after(std::size_t changes) override {
    left_ = changes;
    if (changes != kNever) end(*opened_);
  }

 private:
  static std::string servers(const plan::ServicePortPlan& port) {
    std::string text;
    for (const plan::RealServer& server : port.real_servers) text += " " + server.to_string();
    return text;
  }
  void end(FakeDataPlane& plane) const {
    plane.fail_after = left_;
    plane.fails_at_prefix = true;
  }

  FakeKernel kernel_;
  FakeDataPlane* opened_ = nullptr;
  std::set<std::string> refused_;
  std::size_t left_ = kNever;
};

INSTANTIATE_TEST_SUITE_P(Fake, PlaneContract,
                         testing::Values(PlaneUnderTest{"fake",
                                                        [](const auto& body) {
                                                          FakeRig rig;
                                                          body(rig);
                                                        }}),
                         plane_name);

}  // namespace
}  // namespace sluice::dataplane
