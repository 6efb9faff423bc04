// SPDX-License-Identifier: Apache-2.0
// Treatments: what is done with a new connection, as far as it is the same for many Services. "Choose one of ten, keep
// every source" is one treatment, whichever Service's ten they are. Each has a chain of its own, made when the first
// frontend needs it, so rules grow with the kinds of Services and not with their number. Only a Service port with session
// affinity has chains to itself (affinity.h).
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/nft/words.h"
#include "plan/plan.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {

enum class FoundBy : std::uint8_t { kAddress, kNodePort };
enum class Hide : std::uint8_t { kNobody, kOthersThanPods, kEverybody };

struct Treatment {
  enum class Kind : std::uint8_t { kForward, kPolicyLocal, kReject, kDrop };
  Kind kind = Kind::kReject;
  // The rest is of kForward and kPolicyLocal, where not said otherwise.
  FoundBy found_by = FoundBy::kAddress;
  bool filtered = false;  // source ranges are in force; of kReject, too: what they do not admit is dropped
  // kForward: every client gets this pool. kPolicyLocal: pods and the node get the cluster pool, others the local one.
  plan::Pool pool = plan::Pool::kCluster;
  Hide hide = Hide::kNobody;      // kForward alone: by policy Local it follows from the source
  std::uint16_t slots = 0;        // of the pool; kPolicyLocal: of the cluster pool; 0: pods and the node are refused
  std::uint16_t local_slots = 0;  // kPolicyLocal: of the local pool; 0: others are dropped
  // With session affinity: the name of the Service port, whose own chains choose; `slots` are 1 or 0 then.
  std::string sticky{};
  // Endpoints take turns (sluice.dev/scheduler: rr, wrr): the name of the Service port, whose own chains count.
  std::string in_turn{};

  [[nodiscard]] bool forwards() const { return kind == Kind::kForward || kind == Kind::kPolicyLocal; }
  // Whether connections may end in the pool.
  [[nodiscard]] bool uses(plan::Pool of) const;
  friend auto operator<=>(const Treatment&, const Treatment&) = default;
};

// A chain and its rules, as text would have them.
struct Chain {
  std::string name;
  std::vector<sys::NftRule> rules;
};

struct RuleSettings {
  Family family = Family::kIPv4;
  plan::LocalDetector detector;
  std::uint32_t masquerade_bit = 0x4000;  // of the packet's mark
};

extern const std::uint32_t kGoto;  // NFT_GOTO, as a verdict's code

// What a frontend's element leads to.
sys::NftVerdict verdict_of(const Treatment& treatment);
// The chains that must be there for it, beside those of layout.h.
std::vector<std::string> chain_names(const Treatment& treatment);
// The same with their rules, each before those that lead to it; without those that choose for a sticky Service port.
std::vector<Chain> chains(const Treatment& treatment, const RuleSettings& settings);
// The chain that chooses for a sticky Service port.
std::string sticky_name(plan::Pool pool, const std::string& sticky);

}  // namespace sluice::dataplane::nftables
