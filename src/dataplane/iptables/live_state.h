// SPDX-License-Identifier: Apache-2.0
// LiveState: the output of iptables-save, compared with what is wanted. It keeps hashes of what is right and text only
// of what is not.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dataplane/iptables/canonical.h"
#include "dataplane/iptables/encode.h"
#include "dataplane/iptables/tool.h"

namespace sluice::dataplane::iptables {

struct StaleChain {
  ChainKind kind = ChainKind::kService;
  std::string name;
};

// What is live of a Service port that was refused.
struct Remains {
  std::vector<DispatchRule> dispatch;
  std::vector<StaleChain> chains;           // may exist, with any rules
  std::array<std::ptrdiff_t, 2> counted{};  // how many of its rules, by filter and nat, rules_by_table() counts
};

class LiveState : public SaveVisitor {
 public:
  // `ports` are all that are wanted; `remains` are neither wanted nor unexpected. Then pass this to read_live(), then
  // query it.
  LiveState(const Encoder& encoder, const NodePortAddresses& addresses,
            const std::vector<plan::ServicePortPlanPtr>& ports, const std::vector<const Remains*>& remains = {});

  void begin() override;
  void chain(std::string_view table, std::string_view name) override;
  void rule(std::string_view table, std::string_view chain, std::string_view rule) override;

  [[nodiscard]] bool has_chain(Table table, std::string_view name) const;  // of those in all_fixed_names()
  [[nodiscard]] bool fixed_chain_right(const Encoder::FixedChain& chain) const;
  [[nodiscard]] bool has_jump(std::size_t index) const { return jumps_found_[index]; }  // of jump_rules()
  // Indices of jump_rules(): one for each extra copy.
  [[nodiscard]] const std::vector<std::size_t>& spare_jumps() const { return spare_jumps_; }
  [[nodiscard]] bool has_martian_rule() const { return martian_found_; }
  [[nodiscard]] bool dispatch_rule_live(const DispatchRule& rule) const;
  // Rules in a dispatch chain that are not wanted there, as printed.
  [[nodiscard]] const std::vector<std::string>& unexpected(DispatchChain chain) const {
    return dispatch_[index_of(chain)].unexpected;
  }
  // nat KUBE-SERVICES ends with the rules for node ports, and they are nowhere else.
  [[nodiscard]] bool node_port_rules_right() const { return !misplaced_ && node_port_rules_seen_ == node_port_hashes_; }
  [[nodiscard]] bool port_chain_right(const PortChain& chain) const;
  [[nodiscard]] const std::vector<StaleChain>& stale() const { return stale_; }

  // Every chain of ours that does not belong to a single port.
  struct FixedName {
    Table table;
    std::string_view name;
  };
  static const std::vector<FixedName>& all_fixed_names();

 private:
  struct Dispatch {
    std::unordered_map<std::uint64_t, bool> wanted;  // rule hash -> is it live
    std::vector<std::string> unexpected;
  };
  struct Place {  // our classification of a chain
    enum class Kind : std::uint8_t { kForeign, kPort, kDispatch, kFixed, kFirewall, kBuiltIn } kind = Kind::kForeign;
    std::size_t index = 0;
    ChainKind port_kind = ChainKind::kService;
  };
  static std::size_t index_of(DispatchChain chain) { return static_cast<std::size_t>(chain); }
  static Comments comments_of(ChainKind kind);
  [[nodiscard]] Place place_of(std::string_view table, std::string_view chain) const;
  void dispatch_rule(DispatchChain chain, std::string_view rule);
  void jump_rule(std::string_view rule);
  [[nodiscard]] std::size_t wanted_index(
      std::string_view name) const;  // of a per-port chain; port_names_.size() = not wanted

  Family family_;
  mutable RuleHasher hasher_;
  std::vector<std::uint64_t> port_names_;    // hashes of wanted per-port chains' names, sorted
  std::vector<std::uint64_t> port_digests_;  // of their live rules; 0 = absent
  bool port_chains_seen_ = false;
  std::array<Dispatch, kDispatchChains> dispatch_;
  std::vector<std::uint64_t> node_port_hashes_;
  std::vector<std::uint64_t> node_port_rules_seen_;
  bool misplaced_ = false;
  std::vector<std::uint64_t> fixed_digests_;  // by all_fixed_names(); 0 = absent
  std::vector<std::uint64_t> jump_hashes_;
  std::vector<bool> jumps_found_;
  std::vector<std::size_t> spare_jumps_;
  std::optional<std::uint64_t> martian_hash_;  // none: nothing to search for
  bool martian_found_ = false;
  std::vector<StaleChain> stale_;
  // The chain whose rules are being read, and its classification: rules arrive chain by chain.
  std::string current_table_;
  std::string current_chain_;
  Place current_;
};

}  // namespace sluice::dataplane::iptables
