// SPDX-License-Identifier: Apache-2.0
// Update: what one apply() has to write, as blocks for run_script(), in an order in which every prefix is safe for
// traffic.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
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
  const LiveState* live = nullptr;  // null: what is live is what the `before` sides hold
};

// One Service port of the update; an unchanged one has its plan on both sides.
struct PortUpdate {
  plan::ServicePortPlanPtr before;
  plan::ServicePortPlanPtr after;
  const Remains* remains = nullptr;  // if set, this is what is live, and not `before`
};

// A Service port that was not accepted, or not wholly.
struct RefusedUpdate {
  std::size_t port = 0;  // its index in the Update's ports
  std::string reason;
  bool untried = false;  // set aside, since several like it were refused
  Remains remains;
};

// What is live, not wanted, and could not be removed.
struct UnremovedObject {
  std::string object;  // as Difference::unexpected names it
  std::string reason;
};

class Update : public ItemSource {
 public:
  using ListUnchanged = std::function<std::vector<PortUpdate>()>;
  // `changed` are the ports to bring up to date (with a LiveState: all, without a before). `list_unchanged` returns all
  // others that are served or have remains; it is called only if a dispatch chain must be written as a whole.
  Update(UpdateContext context, std::vector<PortUpdate> changed, const ListUnchanged& list_unchanged);

  [[nodiscard]] std::vector<Block> blocks() const;
  // By how much the number of our rules grows, or, with a LiveState, that number (fixed rules left
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
  void committed(Item item) override;

  // After try_script(), with what it returned: the ports that are not live as wanted, in order of their indices.
  [[nodiscard]] std::vector<RefusedUpdate> refused(const std::vector<ItemRefusal>& refusals) const;
  // Whether one of `refusals` can only mean that others changed our rules: a rule to delete does not exist.
  [[nodiscard]] bool surprised(const std::vector<ItemRefusal>& refusals) const;
  [[nodiscard]] std::vector<UnremovedObject> unremoved(const std::vector<ItemRefusal>& refusals) const;

 private:
  enum class Kind : std::uint32_t;
  // What one port needs, computed again at each use.
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
    std::size_t port = 0;  // the port that it belonged to; the largest number = none
  };
  struct Unexpected {
    DispatchChain chain;
    std::string rule;
  };
  // What a port needs, in numbers, computed once.
  struct Summary {
    std::size_t chains_to_write = 0;
    bool nat_dispatch = false;
    bool filter_add = false;
    bool filter_remove = false;
    std::array<std::ptrdiff_t, 2> rule_count_change{};
    // What has been committed.
    bool filter_added = false;
    bool chains_written = false;
    bool nat_dispatched = false;
    [[nodiscard]] bool unfinished() const {
      return (filter_add && !filter_added) || (chains_to_write > 0 && !chains_written) ||
             (nat_dispatch && !nat_dispatched);
    }
  };

  [[nodiscard]] Delta delta(std::size_t port, Detail detail = Detail::kRules) const;
  void add_live_delta(PortRules after, Delta& delta) const;
  void summarise();
  void decide_rewrites();
  [[nodiscard]] bool rewritten(DispatchChain chain) const { return rewrite_[static_cast<std::size_t>(chain)]; }
  [[nodiscard]] bool any_rewritten(Table table) const;
  [[nodiscard]] std::vector<DispatchRule> final_dispatch(std::size_t port) const;
  static bool is_of_port(Item item);
  // As people read them in a Difference.
  static std::string words(const Drop& drop);
  static std::string words(const Unexpected& rule);
  bool exclude_port(std::size_t port);
  void set_aside_those_like(std::size_t port);
  [[nodiscard]] Remains remains_of(std::size_t port) const;

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
  std::map<std::pair<Protocol, bool>, std::size_t> refused_alike_;  // by protocol and whether there is affinity
  std::set<std::size_t> excluded_drops_;
  std::set<std::size_t> excluded_unexpected_;
};

}  // namespace sluice::dataplane::iptables
