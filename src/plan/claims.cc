// SPDX-License-Identifier: Apache-2.0
// Nothing prevents two Services from listing the same external IP and port; the API server refuses that only for
// cluster IPs and node ports, and a folder of manifests for nothing. kube-proxy writes both, and its rules' order
// decides, which depends on what happened last. Here the winner is a function of what exists: so every node sends a
// client to the same Service, after every history, and a Service that is made later cannot take traffic from one that
// has it.
//
// A claim that only one Service makes (nearly all) costs one entry in a tree. Only if several make it is it worth
// remembering the winner, and checking afterwards whether it changed: then all claimants are planned again, the
// winner to be served, the others because their refusal names the winner.
#include "plan/claims.h"

#include <iterator>
#include <limits>
#include <tuple>

namespace sluice::plan {

Claim claim_on_node_port(Family family, std::uint16_t port, Protocol protocol) {
  return {family == Family::kIPv4 ? IpAddress::from_v4(0) : IpAddress(), port, protocol};
}

bool Claims::Entry::operator<(const Entry& other) const {
  return std::tie(claim, claimant.created, *claimant.service) <
         std::tie(other.claim, other.claimant.created, *other.claimant.service);
}

Claims::Entries::const_iterator Claims::first_of(const Claim& claim) const {
  static const ObjectKey kFirst;
  return entries_.lower_bound(Entry{claim, {std::numeric_limits<std::int64_t>::min(), &kFirst}});
}

std::optional<Claims::Claimant> Claims::winner(const Claim& claim) const {
  const auto first = first_of(claim);
  if (first == entries_.end() || first->claim != claim) return std::nullopt;
  return first->claimant;
}

void Claims::note(const Claim& claim) {
  const auto first = first_of(claim);
  if (first == entries_.end() || first->claim != claim) return;
  before_.try_emplace(claim, Before{first->claimant.created, *first->claimant.service});
}

void Claims::add(const Claimant& claimant, const std::vector<Claim>& claims) {
  for (const Claim& claim : claims) {
    note(claim);
    entries_.insert({claim, claimant});
  }
}

void Claims::remove(const Claimant& claimant, const std::vector<Claim>& claims) {
  for (const Claim& claim : claims) {
    const auto entry = entries_.find({claim, claimant});
    if (entry == entries_.end()) continue;
    const auto next = std::next(entry);
    const bool after_another = entry != entries_.begin() && std::prev(entry)->claim == claim;
    if (after_another || (next != entries_.end() && next->claim == claim)) note(claim);
    entries_.erase(entry);
  }
}

std::set<ObjectKey> Claims::take_affected() {
  std::set<ObjectKey> affected;
  for (const auto& [claim, before] : before_) {
    const auto first = first_of(claim);
    if (first == entries_.end() || first->claim != claim) continue;
    if (first->claimant.created == before.created && *first->claimant.service == before.service) continue;
    for (auto entry = first; entry != entries_.end() && entry->claim == claim; ++entry) {
      affected.insert(*entry->claimant.service);
    }
  }
  before_.clear();
  return affected;
}

}  // namespace sluice::plan
