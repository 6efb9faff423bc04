// SPDX-License-Identifier: Apache-2.0
// Network namespaces by name, kept where ip-netns(8) keeps them (/run/netns), so that `ip netns exec` finds them.
#pragma once

#include <sys/types.h>

#include <compare>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace sluice::sys {

Result<> add_netns(const std::string& name);
Result<> remove_netns(const std::string& name);  // succeeds if there is none
Result<std::vector<std::string>> list_netns();
Result<UniqueFd> open_netns(const std::string& name);
// Moves the calling thread into the namespace; it stays there.
Result<> enter_netns(const std::string& name);
// Runs `body` with the calling thread inside the namespace and returns to its own, whatever body returns.
Result<> in_netns(const std::string& name, const std::function<Result<>()>& body);

// What distinguishes namespaces while they exist: the file behind /proc/<pid>/ns/net.
struct NetnsId {
  dev_t device = 0;
  ino_t inode = 0;
  friend auto operator<=>(const NetnsId&, const NetnsId&) = default;
};
Result<NetnsId> netns_id(const std::string& name);

}  // namespace sluice::sys
