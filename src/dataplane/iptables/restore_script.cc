// SPDX-License-Identifier: Apache-2.0
// iptables-restore is all or nothing per COMMIT, and it stops at the first COMMIT that fails. One Service whose
// protocol the kernel lacks would so keep all others from being updated, for ever. So after a failure:
//
//   - blocks before the failing one are committed; the failing one and what follows is not;
//   - where the tool names a line of an item, that item is excluded and we go on from the failing block;
//   - where it names the COMMIT only, the block is cut in two and we go on: at most log2(items) cuts later the item
//   stands alone.
//
// Both are bounded, so that a kernel that refuses everything costs a known number of attempts.
//
// Text is made on demand, block by block: a full load of 10,000 Services is 40 MB, of which one block stands in memory.
// The tool reads fastest when a block's chains are declared in order of their names (legacy searches an index: 2.3 s
// instead of 8.7 s for 55,000 chains).
#include "dataplane/iptables/restore_script.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace sluice::dataplane::iptables {
namespace {

constexpr std::size_t kRunsMax = 64;
constexpr std::size_t kRefusedMax = 32;
// Above this size a block's text is made again for its second half instead of being kept.
constexpr std::size_t kKeptItemsMax = 256;
constexpr std::size_t kPieceSize = 64 * 1024;

struct BlockCounts {
  std::size_t rules = 0;
  std::size_t chains = 0;
};

// One block as text, in pieces: header and declarations, then item by item, then removals and COMMIT.
class BlockText {
 public:
  BlockText(const Block& block, ItemSource& source) : block_(block), source_(source) {
    const bool keep = block.items.size() <= kKeptItemsMax;
    for (const Item& item : block.items) {
      ItemText text = source.text(item);
      std::move(text.declare.begin(), text.declare.end(), std::back_inserter(declare_));
      std::move(text.remove.begin(), text.remove.end(), std::back_inserter(remove_));
      if (keep) kept_.push_back(std::move(text.rules));
    }
    std::sort(declare_.begin(), declare_.end());
    declare_.erase(std::unique(declare_.begin(), declare_.end()), declare_.end());
    counts_.chains = declare_.size() - std::min(declare_.size(), remove_.size());
  }

  // Appends the next piece of about kPieceSize; false when all has been told.
  bool append(std::string& out) {
    while (stage_ != Stage::kDone && out.size() < kPieceSize) step(out);
    return stage_ != Stage::kDone;
  }

  [[nodiscard]] std::size_t line_count() const { return lines_; }
  [[nodiscard]] const BlockCounts& counts() const { return counts_; }

  struct Found {
    const Item* item = nullptr;  // null: a line that is no item's own
    std::string line;
  };
  // What stands in line `wanted`, counted from 1 within the block. For a text of which nothing was appended yet.
  Found find(std::size_t wanted) {
    std::size_t line = 1 + declare_.size();
    if (wanted <= line) return {nullptr, wanted >= 2 ? ":" + declare_[wanted - 2] : std::string()};
    for (std::size_t i = 0; i < block_.items.size(); ++i) {
      const std::vector<std::string> rules = rules_of(i);
      if (wanted <= line + rules.size()) return {&block_.items[i], rules[wanted - line - 1]};
      line += rules.size();
    }
    if (wanted <= line + remove_.size()) {
      const std::string& name = remove_[wanted - line - 1];
      for (const Item& item : block_.items) {
        const std::vector<std::string> removed = source_.text(item).remove;
        if (std::find(removed.begin(), removed.end(), name) != removed.end()) return {&item, "-X " + name};
      }
    }
    return {};
  }

 private:
  enum class Stage : std::uint8_t { kHeader, kDeclare, kRules, kRemove, kDone };

  std::vector<std::string> rules_of(std::size_t item) {
    return kept_.empty() ? source_.text(block_.items[item]).rules : kept_[item];
  }

  void put(std::string& out, std::string_view before, std::string_view text, std::string_view after) {
    out.append(before).append(text).append(after).append("\n");
    ++lines_;
  }

  void step(std::string& out) {
    switch (stage_) {
      case Stage::kHeader:
        put(out, "*", to_string(block_.table), "");
        stage_ = Stage::kDeclare;
        return;
      case Stage::kDeclare:
        if (next_ == declare_.size()) return advance(Stage::kRules);
        return put(out, ":", declare_[next_++], " - [0:0]");
      case Stage::kRules: {
        if (next_ == block_.items.size()) return advance(Stage::kRemove);
        const std::vector<std::string> rules = rules_of(next_++);
        for (const std::string& rule : rules) put(out, "", rule, "");
        counts_.rules += rules.size();
        return;
      }
      case Stage::kRemove:
        if (next_ < remove_.size()) return put(out, "-X ", remove_[next_++], "");
        put(out, "COMMIT", "", "");
        return advance(Stage::kDone);
      case Stage::kDone:
        return;
    }
  }

  void advance(Stage stage) {
    stage_ = stage;
    next_ = 0;
  }

  const Block& block_;
  ItemSource& source_;
  std::vector<std::string> declare_;
  std::vector<std::string> remove_;
  std::vector<std::vector<std::string>> kept_;
  Stage stage_ = Stage::kHeader;
  std::size_t next_ = 0;
  std::size_t lines_ = 0;
  BlockCounts counts_;
};

// The blocks from `first` on as standard input of one run.
class ScriptInput {
 public:
  ScriptInput(const std::vector<Block>& blocks, std::size_t first, ItemSource& source)
      : blocks_(blocks), first_(first), next_(first), source_(source) {}

  std::string_view pull() {
    piece_.clear();
    while (piece_.size() < kPieceSize) {
      if (!text_) {
        if (next_ == blocks_.size()) break;
        text_.emplace(blocks_[next_++], source_);
        start_lines_.push_back(lines_ + 1);
      }
      if (!text_->append(piece_)) {
        lines_ += text_->line_count();
        counts_.push_back(text_->counts());
        text_.reset();
      }
    }
    return piece_;
  }

  // The block that input line `line` belongs to, and that line's number within it.
  struct Place {
    std::size_t block = 0;
    std::size_t line = 0;
  };
  [[nodiscard]] std::optional<Place> place_of(std::size_t line) const {
    const auto after = std::upper_bound(start_lines_.begin(), start_lines_.end(), line);
    if (after == start_lines_.begin()) return std::nullopt;
    return Place{first_ + static_cast<std::size_t>(after - start_lines_.begin()) - 1, line - *(after - 1) + 1};
  }

  // Adds what the first `count` blocks of this run hold.
  void count(std::size_t count, ApplyStats& stats) const {
    for (std::size_t i = 0; i < count && i < counts_.size(); ++i) {
      stats.rules_written += counts_[i].rules;
      add_to_table(blocks_[first_ + i].table, counts_[i].rules, stats);
      stats.chains_written += counts_[i].chains;
      ++stats.kernel_transactions;
    }
  }

 private:
  static void add_to_table(Table table, std::size_t rules, ApplyStats& stats) {
    const std::string_view name = to_string(table);
    const auto known = std::find_if(stats.written_by_table.begin(), stats.written_by_table.end(),
                                    [&](const auto& entry) { return entry.first == name; });
    if (known == stats.written_by_table.end()) {
      stats.written_by_table.emplace_back(name, rules);
    } else {
      known->second += rules;
    }
  }

  const std::vector<Block>& blocks_;
  std::size_t first_;
  std::size_t next_;
  ItemSource& source_;
  std::optional<BlockText> text_;
  std::string piece_;
  std::size_t lines_ = 0;
  std::vector<std::size_t> start_lines_;
  std::vector<BlockCounts> counts_;
};

// Cuts a block in two, where its phases meet or in the middle of a phase; false where it cannot be cut.
bool cut(std::vector<Block>& blocks, std::size_t which, const ItemSource& source) {
  const std::vector<Item>& items = blocks[which].items;
  if (items.size() < 2) return false;
  const std::uint32_t phase = source.phase(items.front());
  const auto other =
      std::find_if(items.begin(), items.end(), [&](const Item& item) { return source.phase(item) != phase; });
  std::size_t at = static_cast<std::size_t>(other - items.begin());
  if (other == items.end()) {
    if (!source.divisible(phase)) return false;
    at = items.size() / 2;
  }
  const auto middle = items.begin() + static_cast<std::ptrdiff_t>(at);
  Block second{blocks[which].table, std::vector<Item>(middle, items.end())};
  blocks[which].items.resize(at);
  blocks.insert(blocks.begin() + static_cast<std::ptrdiff_t>(which) + 1, std::move(second));
  return true;
}

struct Refusals {
  std::string text;
  std::size_t count = 0;
  void add(const std::string& label, const std::string& line, const std::string& message) {
    if (count++ > 0) text += "; ";
    text += fmt::format("{} is refused: {}{}{}", label, message, line.empty() ? "" : ", at ", line);
  }
};

}  // namespace

Result<> run_script(const Tool& tool, std::vector<Block> blocks, ItemSource& source, ApplyStats& stats) {
  Refusals refusals;
  std::size_t next = 0;
  for (std::size_t run = 0; next < blocks.size(); ++run) {
    if (run == kRunsMax || refusals.count == kRefusedMax) {
      return fail(Errc::kInvalid, fmt::format("{}: gave up with {} of {} blocks applied: {}", tool.restore, next,
                                              blocks.size(), refusals.text));
    }
    ScriptInput input(blocks, next, source);
    SLUICE_TRY(const RestoreOutcome outcome, restore(tool, [&input] { return input.pull(); }));
    if (outcome.ok) {
      input.count(blocks.size() - next, stats);
      break;
    }
    const auto place = outcome.line ? input.place_of(*outcome.line) : std::nullopt;
    if (!place) return fail(Errc::kInternal, fmt::format("{}: {}", tool.restore, outcome.message));
    input.count(place->block - next, stats);
    next = place->block;
    const Block& failing = blocks[next];
    const BlockText::Found found = BlockText(failing, source).find(place->line);
    const Item* culprit = found.item != nullptr       ? found.item
                          : failing.items.size() == 1 ? &failing.items.front()
                                                      : nullptr;
    if (culprit == nullptr) {
      if (!cut(blocks, next, source))
        return fail(Errc::kInternal, fmt::format("{}: {}", tool.restore, outcome.message));
      continue;
    }
    refusals.add(source.label(*culprit), found.line, outcome.message);
    if (!source.exclude(*culprit)) return fail(Errc::kInvalid, fmt::format("{}: {}", tool.restore, refusals.text));
  }
  if (refusals.count > 0)
    return fail(Errc::kInvalid, fmt::format("{}: {}; all else is applied", tool.restore, refusals.text));
  return {};
}

}  // namespace sluice::dataplane::iptables
