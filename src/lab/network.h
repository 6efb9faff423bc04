// SPDX-License-Identifier: Apache-2.0
// The network of a lab: namespaces, links, addresses and routes. No part of it is in the machine's own namespace.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "lab/topology.h"

namespace sluice::lab {

// "sluice-<id>-<host>". Ids contain no hyphen, so that no two labs can share a name.
std::string netns_name(std::string_view id, std::string_view host);
Result<std::vector<std::string>> list_lab_netns(std::string_view id);

// Whether this is the name of a lab's link. None of them may ever be in the machine's own namespace.
bool is_lab_link(std::string_view name);

// On failure, what was made so far stays; remove_network removes it. `cancelled` is called before each host.
Result<> build_network(const std::string& id, const Topology& topology, const std::function<bool()>& cancelled);
Result<> remove_network(const std::string& id);

}  // namespace sluice::lab
