// SPDX-License-Identifier: Apache-2.0
// For tests: numbered Services, the changes that bring and take them, and a kernel that refuses some.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ip_literals.h"
#include "dataplane/nftables/test_kernel.h"
#include "plan/test_objects.h"

namespace sluice::dataplane::nftables {

using plan::test::make_service;
using plan::test::make_slice;
using plan::test::plan_of;
using plan::test::service_port;
using plan::test::slice_port;

using Port = plan::ServicePortPlanPtr;

inline std::vector<std::string> endpoints(unsigned count) {
  std::vector<std::string> all;
  for (unsigned i = 1; i <= count; ++i) all.push_back(fmt::format("10.1.0.{}", i));
  return all;
}

inline Port port_of(const model::Service& service, const std::vector<std::string>& endpoints) {
  return plan_of(service, {make_slice("slice", service.key.name, {slice_port("p", 8080)}, endpoints)}).ports.at(0);
}

inline model::Service service(unsigned index) {
  return make_service(fmt::format("svc-{:04}", index), {service_port("p", 80)},
                      {fmt::format("10.96.{}.{}", index / 250, index % 250 + 1)});
}

inline Port port(unsigned index, const std::vector<std::string>& endpoints = {"10.1.0.1", "10.1.0.2"}) {
  return port_of(service(index), endpoints);
}

inline Changes full(const std::vector<Port>& ports) {
  Changes changes;
  changes.full = true;
  for (const Port& each : ports) changes.ports.push_back({nullptr, each});
  return changes;
}

inline Changes change(Port before, Port after) {
  Changes changes;
  changes.ports.push_back({std::move(before), std::move(after)});
  return changes;
}

inline Outcome must_apply(DataPlane& plane, const Changes& changes) {
  auto outcome = plane.apply(changes);
  EXPECT_TRUE(outcome) << outcome.error().what;
  return outcome ? *std::move(outcome) : Outcome{};
}

inline Port sticky(const std::vector<std::string>& endpoints, std::uint32_t seconds = 600) {
  model::Service wanted = service(0);
  wanted.affinity_seconds = seconds;
  return port_of(wanted, endpoints);
}

inline std::vector<std::string> names_of_parts(const std::string& beginning) {
  std::vector<std::string> names;
  const auto table = sys::read_nft_table(Family::kIPv4, kTableName);
  EXPECT_TRUE(table && *table);
  if (!table || !*table) return names;
  for (const auto& [name, chain] : (*table)->chains) {
    if (name.starts_with(beginning)) names.push_back(name);
  }
  for (const auto& [name, set] : (*table)->sets) {
    if (name.starts_with(beginning)) names.push_back(name);
  }
  return names;
}

inline std::optional<Error> refuse_address(const sys::NftBatch& batch, const std::string& address) {
  const auto data = batch.bytes();
  const IpAddress searched = ip(address);
  const auto bytes = searched.bytes();
  const bool holds = std::search(data.begin(), data.end(), bytes.begin(), bytes.end(), [](char a, std::uint8_t b) {
                       return static_cast<std::uint8_t>(a) == b;
                     }) != data.end();
  if (!holds) return std::nullopt;
  return Error{Errc::kInvalid, "nftables: no", EINVAL};
}

}  // namespace sluice::dataplane::nftables
