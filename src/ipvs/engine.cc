// SPDX-License-Identifier: Apache-2.0
// Code that is the same for every engine.
#include "ipvs/engine.h"

#include <utility>

namespace sluice::ipvs {

Result<std::vector<VirtualServerState>> list_all(Engine& engine) {
  std::vector<VirtualServerState> servers;
  SLUICE_CHECK_OK(
      engine.list(every_virtual_server, [&](VirtualServerState server) { servers.push_back(std::move(server)); }));
  return servers;
}

}  // namespace sluice::ipvs
