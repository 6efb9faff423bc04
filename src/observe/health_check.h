// SPDX-License-Identifier: Apache-2.0
// What one health-check node port reports in one family. Separate from the server, so that code that configures it
// needs no event loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/ip.h"

namespace sluice::observe {

struct HealthCheck {
  std::string namespace_name;
  std::string name;
  std::uint16_t port = 0;
  std::size_t local_endpoints = 0;  // of this family
  Family family = Family::kIPv4;
  friend bool operator==(const HealthCheck&, const HealthCheck&) = default;
};

}  // namespace sluice::observe
