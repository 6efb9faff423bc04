// SPDX-License-Identifier: Apache-2.0
// The chain of "one of ten, every source kept, found by the packet's own destination" is a single rule:
//
//   dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 10 map @endpoints
//
// One more follows it, the same with the first slot in place of chance. A packet meets it only where the Service lost an
// endpoint between the two look-ups of this packet, the one that found ten and the one for the tenth; where it lost all
// of them, the packet is refused. A register keeps nothing from one rule to the next (kernels since 6.17 refuse to read
// one that the rule has not written), so each rule makes its key anew.
//
// No key is made of what a map returned: the nft program, in every version, aborts when it lists such a rule
// (netlink_parse_concat_expr() in its netlink_delinearize.c), and an operator's `nft list ruleset` must go on working.
#include "dataplane/nftables/treatment.h"

#include <fmt/format.h>

// The kernel's headers yield to libc's where these come first.
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "dataplane/nftables/layout.h"

namespace sluice::dataplane::nftables {
namespace {

using nft::End;
using nft::Words;
using plan::Pool;
using sys::NftRule;
using Kind = Treatment::Kind;

std::string_view word(Pool pool) {
  return pool == Pool::kCluster ? "cluster" : "local";
}
std::string_view word(FoundBy found_by) {
  return found_by == FoundBy::kAddress ? "address" : "node-port";
}

// The chain that chooses one of so many.
std::string choice_name(const Treatment& treatment, Pool pool, std::uint16_t slots) {
  if (!treatment.sticky.empty()) return sticky_name(pool, treatment.sticky);
  const std::string name = fmt::format("{}-{}-{}", word(treatment.found_by), word(pool), slots);
  return treatment.in_turn.empty() ? name : fmt::format("turn-{}-{}", name, treatment.in_turn);
}
std::string only_choice(const Treatment& treatment) {
  return choice_name(treatment, treatment.pool, treatment.slots);
}
std::string cluster_choice(const Treatment& treatment) {
  return choice_name(treatment, Pool::kCluster, treatment.slots);
}
std::string local_choice(const Treatment& treatment) {
  return choice_name(treatment, Pool::kLocal, treatment.local_slots);
}

std::string unfiltered_name(const Treatment& treatment) {
  if (treatment.kind == Kind::kPolicyLocal) {
    if (!treatment.in_turn.empty())
      return fmt::format("by-source-{}-{}", treatment.local_slots, cluster_choice(treatment));
    if (treatment.sticky.empty())
      return fmt::format("by-source-{}-{}-{}", word(treatment.found_by), treatment.slots, treatment.local_slots);
    if (treatment.slots == 0) return "by-source-none-" + local_choice(treatment);
    return fmt::format("by-source-{}{}", treatment.local_slots > 0 ? "" : "0-", cluster_choice(treatment));
  }
  if (treatment.kind == Kind::kReject) return kRefuseChain;
  switch (treatment.hide) {
    case Hide::kNobody:
      break;
    case Hide::kOthersThanPods:
      return "hide-others-" + only_choice(treatment);
    case Hide::kEverybody:
      return "hide-all-" + only_choice(treatment);
  }
  return only_choice(treatment);
}

std::string name_of(const Treatment& treatment) {
  return (treatment.filtered ? "filtered-" : "") + unfiltered_name(treatment);
}

bool hides(const Treatment& treatment) {
  return treatment.kind == Kind::kForward && treatment.hide != Hide::kNobody;
}

class Writer {
 public:
  explicit Writer(const RuleSettings& settings) : settings_(settings), words_(settings.family) {}

  Chain choose(const Treatment& treatment, Pool pool, std::uint16_t slots) {
    begin(choice_name(treatment, pool, slots));
    const std::uint32_t first = pool == Pool::kCluster ? 0 : kLocalSlots;
    const auto chance = treatment.in_turn.empty() ? NFT_NG_RANDOM : NFT_NG_INCREMENTAL;
    write_choice(treatment.found_by, chance, slots, first);
    if (slots > 1) write_choice(treatment.found_by, NFT_NG_RANDOM, 1, first);
    rule("lost its endpoints meanwhile").verdict(kGoto, kRefuseChain);
    return std::move(chain_);
  }

  Chain hide(const Treatment& treatment) {
    begin(unfiltered_name(treatment));
    if (treatment.hide == Hide::kEverybody) {
      Words::set_mark(rule(), settings_.masquerade_bit);
    } else {
      NftRule& others = rule("others than this node's pods");
      match_pods(others, NFT_CMP_NEQ);
      Words::set_mark(others, settings_.masquerade_bit);
    }
    rule().verdict(kGoto, only_choice(treatment));
    return std::move(chain_);
  }

  Chain by_source(const Treatment& treatment) {
    const std::string cluster = treatment.slots > 0 ? cluster_choice(treatment) : kRefuseChain;
    begin(unfiltered_name(treatment));
    if (settings_.detector.implemented()) {
      NftRule& pods = rule("this node's pods");
      match_pods(pods, NFT_CMP_EQ);
      pods.verdict(kGoto, cluster);
    }
    Words::set_mark(Words::match_local(rule("this node itself"), End::kSource, NFT_CMP_EQ), settings_.masquerade_bit);
    Words::match_local(rule(), End::kSource, NFT_CMP_EQ).verdict(kGoto, cluster);
    if (treatment.local_slots > 0) {
      rule().verdict(kGoto, local_choice(treatment));
    } else {
      rule().verdict(NF_DROP);
    }
    return std::move(chain_);
  }

  Chain filter(const Treatment& treatment) {
    begin(name_of(treatment));
    NftRule& allowed = rule("loadBalancerSourceRanges");
    words_.load_served(allowed);
    words_.load_address(allowed, End::kSource, words_.served_slots());
    allowed.lookup(kSourceRanges).verdict(kGoto, unfiltered_name(treatment));
    rule().verdict(NF_DROP);
    return std::move(chain_);
  }

 private:
  void begin(std::string name) { chain_ = {std::move(name), {}}; }
  NftRule& rule(const char* comment = "") { return chain_.rules.emplace_back(chain_.name, comment); }

  void match_pods(NftRule& rule, std::uint32_t operation) const {
    using DetectorKind = plan::LocalDetector::Kind;
    const plan::LocalDetector& detector = settings_.detector;
    if (detector.kind == DetectorKind::kCidr) {
      words_.match_address(rule, End::kSource, operation, detector.cidr);
    } else if (detector.kind != DetectorKind::kNone) {
      Words::match_interface(rule, operation, detector.interface, detector.kind == DetectorKind::kInterfacePrefix);
    }
  }

  void write_choice(FoundBy found_by, std::uint32_t chance, std::uint32_t slots, std::uint32_t first) {
    NftRule& chosen = rule();
    const bool by_address = found_by == FoundBy::kAddress;
    if (by_address) {
      words_.load_served(chosen);
    } else {
      Words::load_node_port(chosen);
    }
    const unsigned slot = by_address ? words_.served_slots() : Words::kNodePortSlots;
    chosen.load_number(chance, slots, slot, first)
        .load_mapped(by_address ? kEndpoints : kNodePortEndpoints, 0, 0)
        .translate_destination(words_.family(), 0, words_.address_slots());
  }

  RuleSettings settings_;
  Words words_;
  Chain chain_;
};

}  // namespace

const std::uint32_t kGoto = static_cast<std::uint32_t>(NFT_GOTO);

bool Treatment::uses(Pool of) const {
  if (kind == Kind::kPolicyLocal) return (of == Pool::kCluster ? slots : local_slots) > 0;
  return kind == Kind::kForward && of == pool;
}

std::string sticky_name(Pool pool, const std::string& sticky) {
  return fmt::format("sticky-{}-{}", word(pool), sticky);
}

sys::NftVerdict verdict_of(const Treatment& treatment) {
  if (treatment.kind == Kind::kDrop) return {NF_DROP};
  return {kGoto, name_of(treatment)};
}

std::vector<std::string> chain_names(const Treatment& treatment) {
  std::vector<std::string> names;
  if (treatment.kind == Kind::kDrop) return names;
  if (treatment.kind == Kind::kForward) {
    names.push_back(only_choice(treatment));
  } else if (treatment.kind == Kind::kPolicyLocal) {
    if (treatment.slots > 0) names.push_back(cluster_choice(treatment));
    if (treatment.local_slots > 0) names.push_back(local_choice(treatment));
    names.push_back(unfiltered_name(treatment));
  }
  if (hides(treatment)) names.push_back(unfiltered_name(treatment));
  if (treatment.filtered) names.push_back(name_of(treatment));
  return names;
}

std::vector<Chain> chains(const Treatment& treatment, const RuleSettings& settings) {
  std::vector<Chain> made;
  if (treatment.kind == Kind::kDrop) return made;
  Writer writer(settings);
  if (treatment.sticky.empty()) {
    for (const Pool pool : {Pool::kCluster, Pool::kLocal}) {
      if (!treatment.uses(pool)) continue;  // as kReject does not use any
      const bool local = treatment.kind == Kind::kPolicyLocal && pool == Pool::kLocal;
      made.push_back(writer.choose(treatment, pool, local ? treatment.local_slots : treatment.slots));
    }
  }
  if (treatment.kind == Kind::kPolicyLocal) made.push_back(writer.by_source(treatment));
  if (hides(treatment)) made.push_back(writer.hide(treatment));
  if (treatment.filtered) made.push_back(writer.filter(treatment));
  return made;
}

}  // namespace sluice::dataplane::nftables
