// SPDX-License-Identifier: Apache-2.0
// What the tests of labs share: labs with their own ids, taken down in every case.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/ip_literals.h"
#include "lab/lab.h"
#include "lab/network.h"
#include "sys/detached.h"

namespace sluice::lab {

inline Target tcp(std::string_view address, std::uint16_t port) {
  return {Protocol::kTcp, ip(address), port};
}
inline Target udp(std::string_view address, std::uint16_t port) {
  return {Protocol::kUdp, ip(address), port};
}

// For what takes a quiet machine seconds.
inline constexpr std::chrono::minutes kPatience{4};

inline bool eventually(const std::function<bool()>& holds) {
  for (int turn = 0; turn < 60000; ++turn) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

inline std::vector<std::string> leftovers(const std::string& id) {
  const auto left = find_leftovers(id);
  EXPECT_TRUE(left) << left.error().what;
  return left ? *left : std::vector<std::string>{"?"};
}

// Removes a lab that the test's own process may have failed to remove.
class LabTest : public testing::Test {
 protected:
  ~LabTest() override {
    for (const std::string& id : ids_) (void)take_down(id);
  }
  std::string fresh_id() { return ids_.emplace_back(unique_id()); }
  std::optional<Lab> up(const Topology& topology, AgentKind agent = AgentKind::kThread) {
    auto lab = Lab::up({.id = fresh_id(), .topology = topology, .agent = agent, .agent_program = SLUICE_LAB_TOOL});
    EXPECT_TRUE(lab) << lab.error().what;
    if (!lab) return std::nullopt;
    return std::optional<Lab>(*std::move(lab));
  }
  // `sluice lab up` of a lab of 122 namespaces, as a process that has made this many of them.
  static std::optional<sys::ProcessId> large_lab_in_the_making(const std::string& id, std::size_t namespaces) {
    const auto maker =
        sys::start_detached({.arguments = {SLUICE_LAB_TOOL, "lab", "up", "--id", id, "--topology", "20x5"},
                             .netns = {},
                             .log_file = {},
                             .environment = {}});
    EXPECT_TRUE(maker) << maker.error().what;
    if (!maker) return std::nullopt;
    EXPECT_TRUE(eventually([&] { return list_lab_netns(id)->size() >= namespaces; })) << namespaces;
    return *maker;
  }
  std::vector<std::string> ids_;
};

}  // namespace sluice::lab
