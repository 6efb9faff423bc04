// SPDX-License-Identifier: Apache-2.0
#include "daemon/local_addresses.h"

#include "base/log.h"
#include "dataplane/node/addresses.h"

namespace sluice::daemon {

std::vector<IpAddress> local_addresses() {
  auto listed = dataplane::node::list_own_addresses();
  if (listed) return *std::move(listed);
  SLUICE_LOG_ERROR("Could not list this node's addresses", {"err", listed.error().what});
  return {};
}

}  // namespace sluice::daemon
