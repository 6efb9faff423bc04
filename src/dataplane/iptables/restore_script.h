// SPDX-License-Identifier: Apache-2.0
// RestoreScript: a list of blocks, each one "*table ... COMMIT" and so one atomic change, passed to one
// iptables-restore. If the tool refuses a block, the refused item is found and left out, and the rest
// continues.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "dataplane/dataplane.h"
#include "dataplane/iptables/tool.h"

namespace sluice::dataplane::iptables {

// A part of a block that makes sense without its neighbours. The meaning of `kind` and `index` is up to the source.
struct Item {
  std::uint32_t kind = 0;
  std::uint32_t index = 0;
  friend auto operator<=>(const Item&, const Item&) = default;
};

// What an item contributes to its block. The item that declares a chain comes before all others that write to it.
struct ItemText {
  std::vector<std::string> declare;  // chains to create, or to empty if they exist
  std::vector<std::string> rules;    // whole lines: "-A KUBE-SERVICES ..."
  std::vector<std::string> remove;   // chains to delete; all their rules are gone by then
};

class ItemSource {
 public:
  virtual ~ItemSource() = default;
  // May be called any number of times for an item; the result depends on what was excluded so far.
  virtual ItemText text(Item item) = 0;
  // Items of one phase may be separated when a block is cut, unless the phase is indivisible.
  [[nodiscard]] virtual std::uint32_t phase(Item item) const = 0;
  [[nodiscard]] virtual bool divisible(std::uint32_t phase) const = 0;
  // The item's name for messages: "shop/web:http (TCP)".
  [[nodiscard]] virtual std::string label(Item item) const = 0;
  // The item was refused: from now on leave out it and what depends on it. False if nothing can continue without it.
  virtual bool exclude(Item item) = 0;
  // The item's block was committed, with the result of text().
  virtual void committed(Item /*item*/) {}
};

// The nft flavour's cost grows faster than a block: 55,000 chains in one take 20 s, in blocks of 800 3 s. But while the
// dispatch chains are in use, each COMMIT also makes the kernel walk all rules that packets can reach
// (nft_table_validate; 0.1 s at 200,000 rules), so blocks should not be tiny either. 200 to 1,000 chains cost the
// least.
inline constexpr std::size_t kNftChainsPerBlock = 800;

struct Block {
  Table table = Table::kFilter;
  std::vector<Item> items;
};

struct ItemRefusal {
  Item item;
  std::string reason;    // the tool's message, and the line that it names, if it names one
  bool removes = false;  // that line deletes a rule, which is refused if the rule does not exist
};

// Applies the blocks in order and returns the items that were refused: everything else was applied. `stats`
// counts what was committed, even if the run ends with an Error: then a prefix of the blocks is live.
Result<std::vector<ItemRefusal>> try_script(const Tool& tool, std::vector<Block> blocks, ItemSource& source,
                                            ApplyStats& stats);
// The same, but every refusal is an Error; it names each refused item, and all else was applied unless it states
// otherwise.
Result<> run_script(const Tool& tool, std::vector<Block> blocks, ItemSource& source, ApplyStats& stats);

}  // namespace sluice::dataplane::iptables
