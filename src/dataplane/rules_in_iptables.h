// SPDX-License-Identifier: Apache-2.0
// What a mode other than iptables owns there: kube-proxy's mode ipvs enters through chains and IP sets. The owner lists
// its own, by name; the room that knows the programs finds and removes it, in every flavour. So neither knows
// the other, and the daemon's registry brings them together.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "dataplane/mechanism.h"

namespace sluice::dataplane {

struct OwnedRules {
  struct Chain {
    std::string table;  // "nat"
    std::string name;
  };
  std::vector<Chain> chains;       // and every rule that jumps to one, whatever chain it is in
  std::set<std::string> ip_sets;   // and every rule that matches on one
  std::set<std::string> comments;  // and every rule of the kernel's own chains with such a comment
};

class RulesInIptables {
 public:
  virtual ~RulesInIptables() = default;
  // Like Mechanism's; the counted objects are chains.
  virtual Leftovers leftovers() = 0;
  virtual Removal remove(Leftovers leftovers) = 0;
};
using OpenRulesInIptables = std::function<std::unique_ptr<RulesInIptables>(OwnedRules)>;

}  // namespace sluice::dataplane
