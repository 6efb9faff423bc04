// SPDX-License-Identifier: Apache-2.0
// Addresses written in the source: the lab's and the tests'. An invalid one aborts the program.
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
