// SPDX-License-Identifier: Apache-2.0
// Removes whole netfilter objects by name through nfnetlink, without the nft and ipset programs: what cleaning up after
// a proxy mode needs. All functions act on the calling thread's network namespace.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::sys {

// Deletes the nf_tables table `name` of family ip or ip6 with its contents; returns whether there was one.
Result<bool> delete_nft_table(Family family, const std::string& name);

// The names of all IP sets. A kernel without ipset has none.
Result<std::vector<std::string>> list_ipsets();

// The ports that a set of type bitmap:port or hash:ip,port contains, whatever the addresses; Errc::kNotFound if there
// is no such set.
Result<std::vector<std::uint16_t>> list_ipset_ports(const std::string& name);

// Destroys a set; returns whether there was one. Errc::kUnavailable while a rule still refers to it.
Result<bool> destroy_ipset(const std::string& name);

}  // namespace sluice::sys
