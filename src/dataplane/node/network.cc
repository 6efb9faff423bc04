// SPDX-License-Identifier: Apache-2.0
#include "dataplane/node/network.h"

#include "sys/gateways.h"

namespace sluice::dataplane::node {
namespace {

class KernelNetwork : public Network {
 public:
  Result<std::vector<sys::InterfaceAddress>> list_addresses() override { return sys::list_addresses(); }
  Result<std::vector<IpAddress>> list_gateways(Family family) override { return sys::list_gateways(family); }
};

}  // namespace

std::unique_ptr<Network> open_network() {
  return std::make_unique<KernelNetwork>();
}

}  // namespace sluice::dataplane::node
