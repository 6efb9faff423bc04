// SPDX-License-Identifier: Apache-2.0
// Update: what one apply() has to write, as blocks for run_script(), in an order in which every prefix is safe for
// traffic.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/iptables/encode.h"
#include "dataplane/iptables/live_state.h"
#include "dataplane/iptables/restore_script.h"

namespace sluice::dataplane::iptables {

struct UpdateContext {
  const Encoder& encoder;
  Flavour flavour = Flavour::kNft;
  NodePortAddresses addresses;
  bool comments = true;             // false in large cluster mode
  const LiveState* live = nullptr;  // null: what is live is what the `before` sides say
};

// One Service port of the update; an unchanged one has its plan on both sides.
struct PortUpdate {
  plan::ServicePortPlanPtr before;
  plan::ServicePortPlanPtr after;
};

class Update : public ItemSource {
 public:
  using ListUnchanged = std::function<std::vector<plan::ServicePortPlanPtr>()>;
  // `changed` are the ports to bring up to date (with a LiveState: all, without a before). `list_unchanged` tells all
  // others that are served; it is asked only where a dispatch chain has to be written as a whole.
  Update(UpdateContext context, std::vector<PortUpdate> changed, const ListUnchanged& list_unchanged);

  [[nodiscard]] std::vector<Block> blocks() const;
  // By how much the number of rules that exist by our will grows, or, with a LiveState, what it is (fixed rules left
  // out).
  [[nodiscard]] const std::array<std::ptrdiff_t, 2>& rule_count_change() const {
    return rule_count_change_;
  }  // filter, nat
  [[nodiscard]] Difference difference() const;  // with a LiveState only

  ItemText text(Item item) override;
  [[nodiscard]] std::uint32_t phase(Item item) const override;
  [[nodiscard]] bool divisible(std::uint32_t phase) const override;
  [[nodiscard]] std::string label(Item item) const override;
  bool exclude(Item item) override;

 private:
  enum class Kind : std::uint32_t;
  // What one port needs, worked out again whenever it is asked for.
  struct Delta {
    std::vector<PortChain> write;
    std::vector<StaleChain> drop;
    std::vector<DispatchRule> add;
    std::vector<DispatchRule> remove;
    std::vector<DispatchRule> keep;  // of `after`, live already; with a LiveState only
    std::array<std::ptrdiff_t, 2> rule_count_change{};
  };
  struct Drop {
    StaleChain chain;
    std::size_t port = 0;  // whose it was; the largest number = nobody's
  };
  struct Unexpected {
    DispatchChain chain;
    std::string rule;
  };
  // What a port needs, in numbers, worked out once.
  struct Summary {
    std::size_t chains_to_write = 0;
    bool nat_dispatch = false;
    bool filter_add = false;
    bool filter_remove = false;
  };

  [[nodiscard]] Delta delta(std::size_t port, Detail detail = Detail::kRules) const;
  void add_live_delta(PortRules after, Delta& delta) const;
  void summarise();
  void decide_rewrites();
  [[nodiscard]] bool rewritten(DispatchChain chain) const { return rewrite_[static_cast<std::size_t>(chain)]; }
  [[nodiscard]] bool any_rewritten(Table table) const;
  [[nodiscard]] std::vector<DispatchRule> final_dispatch(std::size_t port) const;

  [[nodiscard]] ItemText fixed_text(Table table) const;
  [[nodiscard]] ItemText chains_text(std::size_t port) const;
  [[nodiscard]] ItemText dispatch_text(std::size_t port, Table table, bool adding_only, bool removing_only) const;
  [[nodiscard]] ItemText head_text(Table table) const;
  void add_filter_blocks(std::vector<Block>& before, std::vector<Block>& after) const;
  void add_nat_blocks(std::vector<Block>& blocks) const;

  UpdateContext context_;
  std::vector<PortUpdate> ports_;  // changed ones first
  std::size_t changed_ = 0;
  std::vector<Summary> summaries_;
  std::vector<Drop> drops_;
  std::vector<Unexpected> unexpected_;
  std::array<std::size_t, kDispatchChains> removals_{};
  std::array<bool, kDispatchChains> rewrite_{};
  std::array<std::ptrdiff_t, 2> rule_count_change_{};
  std::set<std::size_t> excluded_ports_;
  std::set<std::size_t> excluded_drops_;
  std::set<std::size_t> excluded_unexpected_;
};

}  // namespace sluice::dataplane::iptables
