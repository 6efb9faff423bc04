// SPDX-License-Identifier: Apache-2.0
// Claims: which Service gets an address, port and protocol, or a node port, if several want it. The older one gets it
// (by metadata.creationTimestamp), of equally old ones the first by namespace and name. Pure; a Service that is added,
// removed or changed costs what it claims, whatever the number of others.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/ip.h"
#include "model/object.h"

namespace sluice::plan {

using model::ObjectKey;

// A destination at which only one Service can be served. All kinds of address are one space: an external IP may be
// another Service's cluster IP.
struct Claim {
  IpAddress address;  // unspecified for a node port, whose addresses are the node's
  std::uint16_t port = 0;
  Protocol protocol = Protocol::kTcp;
  friend auto operator<=>(const Claim&, const Claim&) = default;
};
Claim claim_on_node_port(Family family, std::uint16_t port, Protocol protocol);

class Claims {
 public:
  Claims() = default;
  // A copy would refer to the original's keys.
  Claims(const Claims&) = delete;
  Claims& operator=(const Claims&) = delete;
  Claims(Claims&&) = default;
  Claims& operator=(Claims&&) = default;
  ~Claims() = default;

  // A Service that claims something. The key must stay where it is until remove().
  struct Claimant {
    std::int64_t created = model::kCreatedUnknown;  // as in model::Service
    const ObjectKey* service = nullptr;
    friend bool operator==(const Claimant& a, const Claimant& b) {
      return a.created == b.created && *a.service == *b.service;
    }
  };

  // `claims` are sorted, each once.
  void add(const Claimant& claimant, const std::vector<Claim>& claims);
  void remove(const Claimant& claimant, const std::vector<Claim>& claims);
  // The Service that gets it; nothing if none claims it.
  [[nodiscard]] std::optional<Claimant> winner(const Claim& claim) const;
  // The Services that claim something whose winner has changed since the last call, to a new age or another
  // Service; those that were just added or removed may be among them.
  [[nodiscard]] std::set<ObjectKey> take_affected();
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Claim claim;
    Claimant claimant;
    bool operator<(const Entry& other) const;
  };
  using Entries = std::set<Entry>;
  [[nodiscard]] Entries::const_iterator first_of(const Claim& claim) const;
  void note(const Claim& claim);

  // Those of one claim are adjacent, the winner first.
  Entries entries_;
  // The previous winners of the claims that several make, and that changed since take_affected(). The key is a value,
  // since its Service may be gone by then.
  struct Before {
    std::int64_t created = 0;
    ObjectKey service;
  };
  std::map<Claim, Before> before_;
};

}  // namespace sluice::plan
