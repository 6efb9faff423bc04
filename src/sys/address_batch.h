// SPDX-License-Identifier: Apache-2.0
// Many host addresses (/32, /128) put on a link, or taken off it, at once: thousands per second, by rtnetlink.
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

// Each tries every address, whatever becomes of the ones before it, and answers those that were refused, in order. An
// Error means that the link does not exist or that the kernel could not be asked; a part of the batch may be done then.
// An address that is there already is kAlreadyExists; one to be removed that is not there is kNotFound. An IPv4 address
// goes whatever its prefix length. Duplicate address detection is switched off.
Result<std::vector<AddressFailure>> add_host_addresses(const std::string& link, std::span<const IpAddress> addresses);
Result<std::vector<AddressFailure>> remove_host_addresses(const std::string& link,
                                                          std::span<const IpAddress> addresses);

}  // namespace sluice::sys
