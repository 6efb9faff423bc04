// SPDX-License-Identifier: Apache-2.0
// The node's addresses and routes as the kernel has them; an interface, so that tests need neither.
#pragma once

#include <memory>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "sys/addresses.h"

namespace sluice::dataplane::node {

class Network {
 public:
  virtual ~Network() = default;
  // Of all interfaces, kServiceDevice among them.
  virtual Result<std::vector<sys::InterfaceAddress>> list_addresses() = 0;
  virtual Result<std::vector<IpAddress>> list_gateways(Family family) = 0;
};

// The real one, in the calling thread's network namespace.
std::unique_ptr<Network> open_network();

}  // namespace sluice::dataplane::node
