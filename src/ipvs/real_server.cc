// SPDX-License-Identifier: Apache-2.0
// Names of real servers for users and messages.
#include "ipvs/real_server.h"

#include <fmt/format.h>

#include "ipvs/virtual_server.h"

namespace sluice::ipvs {

std::string to_string(const RealServerKey& key) {
  const bool ipv6 = key.family == Family::kIPv6;
  return fmt::format("{}{}{}:{}", ipv6 ? "[" : "", address_text(key.family, key.address), ipv6 ? "]" : "", key.port);
}

}  // namespace sluice::ipvs
