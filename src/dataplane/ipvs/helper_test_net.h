// SPDX-License-Identifier: Apache-2.0
// For the helper table's tests: a private network namespace, and the output of the nft program there.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_literals.h"
#include "base/test_paths.h"
#include "dataplane/ipvs/helper_table.h"
#include "sys/test_netns.h"

namespace sluice::dataplane::ipvs {

inline void nft(std::string_view script) {
  run({"nft", "-f", "-"}, script);
}

inline std::string nft_name(Family family) {
  return family == Family::kIPv4 ? "ip" : "ip6";
}

inline std::string listed(Family family) {
  return run({"nft", "-n", "list", "table", nft_name(family), "sluice-ipvs"});
}

// Compares byte for byte with a file of test/golden/ipvs-helper; SLUICE_UPDATE_GOLDEN=1 writes it instead.
inline void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = source_path("test/golden/ipvs-helper/" + name);
  if (std::getenv("SLUICE_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path) << text;
    return;
  }
  std::stringstream wanted;
  wanted << std::ifstream(path).rdbuf();
  EXPECT_EQ(text, wanted.str()) << path << ": if this is the intended text, run with SLUICE_UPDATE_GOLDEN=1";
}

inline ServedAddress tcp(std::string_view address, std::uint16_t port) {
  return {ip(address), Protocol::kTcp, port};
}
inline ServedAddress udp(std::string_view address, std::uint16_t port) {
  return {ip(address), Protocol::kUdp, port};
}

inline std::unique_ptr<HelperTable> open_table(const HelperSettings& settings) {
  auto table = open_helper_table(settings);
  if (!table) {
    ADD_FAILURE() << table.error().what;
    return nullptr;
  }
  return *std::move(table);
}

// What was written, or -1 and a failed test.
inline long written(const Result<std::size_t>& outcome) {
  if (outcome) return static_cast<long>(*outcome);
  ADD_FAILURE() << outcome.error().what;
  return -1;
}

inline plan::LocalDetector by_cidr(std::string_view text) {
  return {plan::LocalDetector::Kind::kCidr, cidr(text), ""};
}

}  // namespace sluice::dataplane::ipvs
