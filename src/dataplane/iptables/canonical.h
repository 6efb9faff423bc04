// SPDX-License-Identifier: Apache-2.0
// Whether two rules are the same. iptables-save never prints a rule as it was written; here both spellings are brought
// to one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"

namespace sluice::dataplane::iptables {

enum class Comments : std::uint8_t { kKeep, kIgnore };

// `rule` is what follows "-A CHAIN ", as written for iptables-restore or as printed by iptables-save of either
// flavour. Two rules with the same text match the same packets and do the same with them (and, with kKeep, have the
// same comment).
std::string canonical_rule(Family family, std::string_view rule, Comments comments);

// A 64-bit hash of the same, without making the text: equal rules have equal hashes.
class RuleHasher {
 public:
  explicit RuleHasher(Family family) : family_(family) {}
  std::uint64_t hash(std::string_view rule, Comments comments);

 private:
  Family family_;
  std::vector<std::string> words_;  // reused from call to call
  std::string element_;
};

// The hash of a whole chain from those of its rules, in their order.
std::uint64_t extend_digest(std::uint64_t digest, std::uint64_t rule_hash);
inline constexpr std::uint64_t kEmptyDigest = 0x5105ce5105ce5105ULL;

}  // namespace sluice::dataplane::iptables
