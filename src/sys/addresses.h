// SPDX-License-Identifier: Apache-2.0
// The addresses of this network namespace's interfaces, by rtnetlink (RTM_GETADDR).
#pragma once

#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

struct InterfaceAddress {
  std::string interface;
  IpAddress address;
  unsigned prefix_length = 0;
  friend bool operator==(const InterfaceAddress&, const InterfaceAddress&) = default;
};

Result<std::vector<InterfaceAddress>> list_addresses();

}  // namespace sluice::sys
