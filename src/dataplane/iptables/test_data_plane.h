// SPDX-License-Identifier: Apache-2.0
// For this room's tests: the data plane over the real programs and kernel, in both flavours and families.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/iptables/iptables_data_plane.h"
#include "dataplane/iptables/test_netns.h"
#include "dataplane/iptables/test_plans.h"

namespace sluice::dataplane::iptables {

struct Ground {
  Family family;
  const char* flavour;
};

inline std::string ground_name(const testing::TestParamInfo<Ground>& info) {
  return fmt::format("{}_{}", to_string(info.param.family), info.param.flavour);
}

inline auto every_ground() {
  return testing::Values(Ground{Family::kIPv4, "nft"}, Ground{Family::kIPv4, "legacy"}, Ground{Family::kIPv6, "nft"},
                         Ground{Family::kIPv6, "legacy"});
}

inline std::unique_ptr<IptablesDataPlane> open_plane(const Ground& ground) {
  Options options;
  options.family = ground.family;
  options.flavour = flavour_named(ground.flavour);
  options.detector = pods_in(ground.family == Family::kIPv4 ? "10.0.0.0/8" : "fd00:10::/32");
  auto plane = IptablesDataPlane::open(options);
  if (!plane) {
    ADD_FAILURE() << plane.error().what;
    return nullptr;
  }
  return *std::move(plane);
}

inline Changes full(const std::vector<plan::ServicePortPlanPtr>& ports) {
  Changes changes;
  changes.full = true;
  for (const auto& port : ports) changes.ports.push_back({nullptr, port});
  return changes;
}

inline Changes one_change(plan::ServicePortPlanPtr before, plan::ServicePortPlanPtr after) {
  Changes changes;
  changes.ports.push_back({std::move(before), std::move(after)});
  return changes;
}

inline ApplyStats must_apply(DataPlane& plane, const Changes& changes) {
  const auto outcome = plane.apply(changes);
  if (!outcome) {
    ADD_FAILURE() << outcome.error().what;
    return {};
  }
  for (const RefusedPort& each : outcome->refused) ADD_FAILURE() << each.port.printed_name() << ": " << each.reason;
  for (const std::string& each : outcome->unremoved) ADD_FAILURE() << each;
  return outcome->stats;
}

inline void expect_no_difference(DataPlane& plane, const Changes& wanted) {
  const auto difference = plane.compare(wanted);
  ASSERT_TRUE(difference) << difference.error().what;
  EXPECT_THAT(difference->missing, testing::IsEmpty());
  EXPECT_THAT(difference->unexpected, testing::IsEmpty());
}

// An address of the family, given by two numbers.
inline std::string address(Family family, const char* v4_prefix, unsigned high, unsigned low) {
  return family == Family::kIPv4
             ? fmt::format("{}.{}.{}", v4_prefix, high, low)
             : fmt::format("fd00:{:x}::{:x}:{:x}", static_cast<unsigned>(v4_prefix[0] + v4_prefix[1]), high, low);
}

inline plan::PortDraft simple_service(Family family, unsigned index, unsigned servers) {
  plan::PortDraft port =
      cluster_ip_port("ns", fmt::format("svc-{}", index), "p", address(family, "172.30", index / 256, index % 256));
  for (unsigned i = 0; i < servers; ++i)
    add_server(port, address(family, "10.180", index % 256, i + 1), 8080, Where::kElsewhere);
  return port;
}

class DataPlaneTest : public testing::TestWithParam<Ground> {
 protected:
  [[nodiscard]] Tool tool() const { return tool_for(GetParam().family, GetParam().flavour); }
};

}  // namespace sluice::dataplane::iptables
