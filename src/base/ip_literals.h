// SPDX-License-Identifier: Apache-2.0
// Addresses that stand in the program's own text: the lab's and the tests'. What is none ends the program.
#pragma once

#include <string_view>

#include "base/ip.h"

namespace sluice {

inline IpAddress ip(std::string_view literal) {
  return IpAddress::parse(literal).value();
}
inline Cidr cidr(std::string_view literal) {
  return Cidr::parse(literal).value();
}

}  // namespace sluice
