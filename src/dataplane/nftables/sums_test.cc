// SPDX-License-Identifier: Apache-2.0
// What a plane expects to find in its table, after any changes: each step here is followed by another program's commit, so
// that intact() lists all and compares it with the digests that the plane has kept.
#include <gmock/gmock.h>

#include <random>

#include "dataplane/nftables/test_ports.h"

namespace sluice::dataplane::nftables {
namespace {

constexpr unsigned kWalkServices = 5;

// Services of all kinds, and what becomes of them.
class Walk {
 public:
  Walk(Family family, unsigned seed) : family_(family), random_(seed) {
    Options options;
    options.family = family;
    options.batch_objects_max = 12;
    plane_ = open_plane(hand_, options);
    for (unsigned i = 0; i < kWalkServices; ++i) wanted_.push_back(one_in(2) ? any_port(i) : nullptr);
    apply_full();
  }

  void step() {
    if (one_in(8)) return apply_full();
    if (one_in(4)) {
      const IpAddress refused = address(0, pick(kWalkServices) + 1);
      hand_.refusal = [refused](const sys::NftBatch& batch) { return refuse_address(batch, refused.to_string()); };
    }
    Changes changes;
    for (unsigned i = 0; i < kWalkServices; ++i) {
      if (!one_in(3)) continue;
      Port next = one_in(4) ? nullptr : any_port(i);
      if (wanted_[i] || next) changes.ports.push_back({wanted_[i], next});
      wanted_[i] = std::move(next);
    }
    must_apply(*plane_, changes);
    hand_.refusal = [](const auto&) { return std::nullopt; };
    if (one_in(2)) {
      EXPECT_TRUE(plane_->tend());
    }
    expect_known();
  }

 private:
  bool one_in(unsigned many) { return random_() % many == 0; }
  unsigned pick(unsigned many) { return static_cast<unsigned>(random_() % many); }
  // Of one of several networks of this family.
  [[nodiscard]] IpAddress address(unsigned net, unsigned host) const {
    return ip(family_ == Family::kIPv4 ? fmt::format("10.{}.0.{}", 90 + net, host)
                                       : fmt::format("fd00:{}::{}", 90 + net, host));
  }

  Port any_port(unsigned index) {
    model::Service any = service(index);
    any.cluster_ips = {address(0, index + 1)};
    any.type = model::ServiceType::kLoadBalancer;
    any.ports[0].node_port = one_in(2) ? static_cast<std::uint16_t>(30000 + index) : std::uint16_t{0};
    if (one_in(2)) any.ingress = {{address(1, index + 1)}};
    if (one_in(2)) any.source_ranges = {{address(2, 0), family_ == Family::kIPv4 ? 24U : 64U}};
    if (one_in(2)) any.source_ranges.push_back({address(3, 0), family_ == Family::kIPv4 ? 25U : 60U});
    if (one_in(3)) any.affinity_seconds = 600;
    if (one_in(3)) any.external_traffic_policy = model::TrafficPolicy::kLocal;
    if (one_in(3)) any.sluice_annotations.emplace("sluice.dev/scheduler", "rr");
    std::vector<std::string> ready;
    for (unsigned host = 1; host <= 4; ++host) {
      if (one_in(2)) ready.push_back(address(4, host).to_string() + (one_in(2) ? " @self" : " @far"));
    }
    const auto ports = plan_of(any, {make_slice("s", any.key.name, {slice_port("p", 8080)}, ready, family_)}).ports;
    return ports.at(0);
  }

  void apply_full() {
    std::vector<Port> ports;
    for (const Port& port : wanted_) {
      if (port) ports.push_back(port);
    }
    Changes all = full(ports);
    addresses_ = {one_in(2), {}};
    if (!addresses_.all_local) addresses_.addresses = {address(5, 1), address(5, 2 + pick(2))};
    all.node_port_addresses = addresses_;
    must_apply(*plane_, all);
    expect_known();
  }

  void expect_known() {
    EXPECT_EQ(looked_at(*plane_), Integrity::kKept);
    std::vector<Port> ports;
    for (const Port& port : wanted_) {
      if (port) ports.push_back(port);
    }
    Changes all = full(ports);
    all.node_port_addresses = addresses_;
    const auto difference = plane_->compare(all);
    ASSERT_TRUE(difference) << difference.error().what;
    EXPECT_THAT(difference->missing, testing::IsEmpty());
    EXPECT_THAT(difference->unexpected, testing::IsEmpty());
  }

  Family family_;
  std::mt19937 random_;
  Hand hand_;
  std::unique_ptr<NftablesDataPlane> plane_;
  std::vector<Port> wanted_;
  NodePortAddresses addresses_;
};

TEST(Sums, AreThoseOfWhatIsThereAfterAnyChanges) {
  for (const Family family : kFamilies) {
    for (unsigned seed = 1; seed <= 4; ++seed) {
      SCOPED_TRACE(fmt::format("{}, seed {}", to_string(family), seed));
      in_fresh_netns([family, seed] {
        Walk walk(family, seed);
        for (int step = 0; step < 30 && !testing::Test::HasFailure(); ++step) {
          SCOPED_TRACE(step);
          walk.step();
        }
      });
    }
  }
}

}  // namespace
}  // namespace sluice::dataplane::nftables
