// SPDX-License-Identifier: Apache-2.0
#include "daemon/local_addresses.h"

#include "base/log.h"
#include "dataplane/ipvs/wanted.h"
#include "sys/addresses.h"

namespace sluice::daemon {

std::vector<IpAddress> local_addresses() {
  std::vector<IpAddress> addresses;
  const auto listed = sys::list_addresses();
  if (!listed) {
    SLUICE_LOG_ERROR("Could not list this node's addresses", {"err", listed.error().what});
    return addresses;
  }
  for (const sys::InterfaceAddress& entry : *listed) {
    if (entry.interface != dataplane::ipvs::kServiceDevice) addresses.push_back(entry.address);
  }
  return addresses;
}

}  // namespace sluice::daemon
