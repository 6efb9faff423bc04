// SPDX-License-Identifier: Apache-2.0
// Many host addresses (/32, /128) added to a link, or removed from it, at once: thousands per second, by rtnetlink.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

struct AddressFailure {
  std::size_t index = 0;  // in the batch
  Error error;            // names the address and the link
};

// Each tries every address, even if earlier ones fail, and returns those that were refused, in order. An
// Error means that the link does not exist or that the kernel could not be reached; a part of the batch may be done
// then. An existing address is kAlreadyExists; a missing one to be removed is kNotFound. An IPv4 address
// is removed whatever its prefix length. Duplicate address detection is switched off.
Result<std::vector<AddressFailure>> add_host_addresses(const std::string& link, std::span<const IpAddress> addresses);
Result<std::vector<AddressFailure>> remove_host_addresses(const std::string& link,
                                                          std::span<const IpAddress> addresses);

}  // namespace sluice::sys
