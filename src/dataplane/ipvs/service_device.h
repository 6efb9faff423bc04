// SPDX-License-Identifier: Apache-2.0
// kube-ipvs0: the device with the addresses of Services, so that the kernel accepts packets to them as its own.
// An interface, so that tests need none. An engine without local addresses (ipvs::Description) does without it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "sys/address_batch.h"

namespace sluice::dataplane::ipvs {

class ServiceDevice {
 public:
  virtual ~ServiceDevice() = default;
  virtual Result<bool> exists() = 0;
  // Creates it if it is missing. An existing device of that name is used, whatever its type.
  virtual Result<> ensure() = 0;
  // Each tries every address and returns those that were refused. Adding an existing address, or removing a missing
  // one, is no error.
  virtual Result<std::vector<sys::AddressFailure>> add(std::span<const IpAddress> addresses) = 0;
  virtual Result<std::vector<sys::AddressFailure>> remove(std::span<const IpAddress> addresses) = 0;
};

// The real one, in the calling thread's network namespace.
std::unique_ptr<ServiceDevice> open_service_device();

}  // namespace sluice::dataplane::ipvs
