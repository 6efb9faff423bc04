// SPDX-License-Identifier: Apache-2.0
// The data plane under the contract suite, over the fake engine, which the contract suite of engines checks against
// what the kernel's does, and over a table and a device of maps, whose real counterparts have tests of their own.
#include "dataplane/contract_suite.h"

#include "dataplane/ipvs/test_world.h"

namespace sluice::dataplane::ipvs {
namespace {

using sluice::ipvs::RemoveVirtualServer;

class WorldRig : public PlaneRig {
 public:
  explicit WorldRig(const sluice::ipvs::Description& engine) { world_.engine.describe(engine); }
  std::unique_ptr<DataPlane> open() override { return open_plane(world_); }

  std::vector<std::string> everything() override {
    std::vector<std::string> all;
    const auto listed = world_.engine.list(sluice::ipvs::every_virtual_server, [&](const auto& state) {
      std::string line = sluice::ipvs::to_string(state.server.key) + " " + state.server.scheduler;
      std::set<std::string> servers;
      for (const auto& each : state.real_servers)
        servers.insert(fmt::format(" {} w{}", sluice::ipvs::to_string(each.server.key), each.server.weight));
      for (const std::string& each : servers) line += each;
      all.push_back(line);
    });
    EXPECT_TRUE(listed);
    std::sort(all.begin(), all.end());
    for (const IpAddress& address : world_.bound) all.push_back(address.to_string());
    if (world_.device_there) all.emplace_back("kube-ipvs0");
    for (const Family family : kFamilies) {
      const auto rules = world_.engine.rules().read(family);
      for (const auto& each : rules->rules)
        all.push_back(fmt::format("rule {} {}", sluice::ipvs::to_string(each.key), each.flags));
      for (const auto& each : rules->allowed)
        all.push_back(sluice::ipvs::to_string(each.key) + " from " + each.source.to_string());
      for (const IpAddress& address : rules->addresses) all.push_back("route " + address.to_string());
    }
    if (world_.table_there) all.push_back(fmt::format("table of {}", WorldTable::size(world_.elements)));
    return all;
  }

  std::set<std::string> reached_by(const IpAddress& address, std::uint16_t port) override {
    std::set<std::string> reached;
    const auto* state = world_.engine.live(tcp(address.to_string(), port));
    if (state == nullptr || (binds() && !world_.bound.contains(address))) return reached;
    for (const auto& each : state->real_servers) {
      if (each.server.weight > 0) reached.insert(sluice::ipvs::to_string(each.server.key));
    }
    return reached;
  }

  void add_foreign_objects() override {
    for (const VirtualServerKey& key : foreign()) {
      const sluice::ipvs::AddVirtualServer add{VirtualServer::of(key)};
      EXPECT_TRUE(world_.engine.apply(std::vector<TableChange>{add})->empty());
    }
  }
  bool foreign_objects_stand() override {
    const auto keys = foreign();
    return std::all_of(keys.begin(), keys.end(), [&](const auto& key) { return world_.engine.live(key) != nullptr; });
  }
  void damage() override {
    world_.bound.clear();
    if (binds()) return;
    EXPECT_TRUE(world_.engine.apply(std::vector<TableChange>{RemoveVirtualServer{ours().front()}}));
  }
  bool change_node() override {
    world_.interfaces.push_back({"eth0", IpAddress::from_v4(0xc0a80100 + ++last_address_), 24});
    return true;
  }

  void refuse(model::Service& service) override { refused().insert(service.cluster_ips.front()); }
  void let_in(model::Service& service) override { refused().erase(service.cluster_ips.front()); }

  bool hold(const model::Service& service) override {
    if (!binds()) return false;
    world_.held.insert(service.cluster_ips.front());
    return true;
  }
  void let_go() override { world_.held.clear(); }
  bool has_every_gap() override { return binds(); }

  void end_process_after(std::size_t changes) override { world_.changes_left = changes; }
  void end_connections() override { world_.clock.advance(std::chrono::minutes(1)); }

 private:
  // With a firewall mark, and of the other family: never ours.
  static std::vector<VirtualServerKey> foreign() {
    return {VirtualServerKey::of_mark(Family::kIPv4, 7), tcp("2001:db8::77", 80)};
  }

  [[nodiscard]] bool binds() const { return world_.engine.description().needs_local_addresses; }
  std::set<IpAddress>& refused() { return binds() ? world_.unbindable : world_.unservable; }
  // On addresses of Services.
  std::vector<VirtualServerKey> ours() {
    std::vector<VirtualServerKey> keys;
    const auto foreigners = foreign();
    const auto listed = world_.engine.list(sluice::ipvs::every_virtual_server, [&](const auto& state) {
      const VirtualServerKey& key = state.server.key;
      if (std::find(foreigners.begin(), foreigners.end(), key) == foreigners.end()) keys.push_back(key);
    });
    EXPECT_TRUE(listed);
    return keys;
  }

  World world_;
  std::uint32_t last_address_ = 100;
};

// With all that the kernel's engine needs, and with nothing.
PlaneUnderTest under_test(const char* name, const sluice::ipvs::Description& engine) {
  return {name, [engine](const auto& body) {
            WorldRig rig(engine);
            body(rig);
          }};
}

INSTANTIATE_TEST_SUITE_P(Ipvs, PlaneContract,
                         testing::Values(under_test("ipvs", sluice::ipvs::describe_ip_vs("fake")),
                                         under_test("ipvs_bare_engine", kBareEngine)),
                         plane_name);

}  // namespace
}  // namespace sluice::dataplane::ipvs
