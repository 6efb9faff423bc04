// SPDX-License-Identifier: Apache-2.0
// What one health-check node port answers. Apart from the server, so that whoever tells it what to serve needs no event
// loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice::observe {

struct HealthCheck {
  std::string namespace_name;
  std::string name;
  std::uint16_t port = 0;
  std::size_t local_endpoints = 0;
  friend bool operator==(const HealthCheck&, const HealthCheck&) = default;
};

}  // namespace sluice::observe
