// SPDX-License-Identifier: Apache-2.0
// iptables-restore is all or nothing per COMMIT, and it stops at the first COMMIT that fails. One Service whose
// protocol the kernel lacks would thus keep all others from being updated, forever. So after a failure:
//
//   - blocks before the failing one are committed; the failing one and what follows is not;
//   - if the tool names a line of an item, that item is excluded and we continue from the failing block;
//   - if it names only the COMMIT, the block is cut in two and we continue: at most log2(items) cuts later the item
//   is alone.
//
// Both are bounded, so that a kernel that refuses everything costs a known number of attempts.
//
// Text is generated in parts, some hundred items each, while the tool reads the previous part: a full load of 10,000
// Services is 40 MB, of which one part is in memory.
//
// Both flavours look a chain up in a list sorted by name, so the order of lines decides what a load costs (55,000
// chains, 165,000 rules, iptables 1.8.9). Within a part chains are declared in descending order, each before all those
// of the part that are in the list: otherwise nft walks the whole list, legacy a bucket of up to 395 names. Rules are
// written chain by chain in the order of names, so that legacy's index and list stay in the processor's cache: ADR 10
// has the figures.
#include "dataplane/iptables/restore_script.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <list>

namespace sluice::dataplane::iptables {
namespace {

constexpr std::size_t kRunsMax = 128;
constexpr std::size_t kPieceSize = 64 * 1024;
// A part ends with the item that brings it to this many chains.
constexpr std::size_t kPartChainsMax = 2048;
constexpr std::size_t kArenaPieceSize = 256 * 1024;

struct BlockCounts {
  std::size_t rules = 0;
  std::size_t own_rules = 0;  // of these, the rules in our chains: neither jumps into them nor removals
  std::size_t chains = 0;
};

bool is_own_rule(std::string_view line) {
  return line.starts_with("-A KUBE-") || line.starts_with("-I KUBE-");
}

// The chain that a line like "-A CHAIN ..." is about.
std::string_view chain_of(std::string_view line) {
  const std::size_t begin = line.find(' ') + 1;
  return line.substr(begin, line.find(' ', begin) - begin);
}

constexpr std::size_t kNoItem = static_cast<std::size_t>(-1);

// Consecutive lines of one item about one chain.
struct Run {
  std::string_view chain;
  std::string_view text;  // whole lines
  std::size_t lines = 1;
  std::size_t item = kNoItem;  // of the block
};

// Owns the text of runs. Appended text does not move.
class Arena {
 public:
  // Appends `line` and its end; returns a view of the appended text.
  std::string_view append(std::string_view line) {
    if (pieces_.empty() || pieces_.back().capacity() - pieces_.back().size() < line.size() + 1) {
      pieces_.emplace_back().reserve(std::max(kArenaPieceSize, line.size() + 1));
    }
    std::string& piece = pieces_.back();
    const std::size_t begin = piece.size();
    piece.append(line).push_back('\n');
    return std::string_view(piece).substr(begin);
  }
  void clear() { pieces_.clear(); }

 private:
  std::list<std::string> pieces_;
};

// One block as text: the table's name, parts, then removals and COMMIT. Generated once, by append() or by find().
class BlockText {
 public:
  BlockText(const Block& block, ItemSource& source) : block_(block), source_(source) {
    runs_.push_back({{}, arena_.append(fmt::format("*{}", to_string(block.table)))});
  }

  // Appends the next piece of about kPieceSize; false when everything was appended.
  bool append(std::string& out) {
    while (out.size() < kPieceSize) {
      while (next_run_ == runs_.size()) {  // a part of excluded items is empty
        if (!next_part()) return false;
      }
      const Run& run = runs_[next_run_++];
      out.append(run.text);
      lines_ += run.lines;
    }
    return true;
  }

  // At the end of the block.
  [[nodiscard]] std::size_t line_count() const { return lines_; }
  [[nodiscard]] BlockCounts counts() const {
    BlockCounts counts = counts_;
    counts.chains -= std::min(counts.chains, remove_.size());
    return counts;
  }

  struct Found {
    const Item* item = nullptr;  // null: a line that belongs to no item
    std::string line;
  };
  // What is in line `wanted`, counted from 1 within the block.
  Found find(std::size_t wanted) {
    do {
      for (const Run& run : runs_) {
        if (wanted <= run.lines) {
          return run.item == kNoItem ? Found{} : Found{&block_.items[run.item], nth_line(run.text, wanted - 1)};
        }
        wanted -= run.lines;
      }
    } while (next_part());
    return {};
  }

 private:
  // Replaces the finished runs by the next ones; false after COMMIT.
  bool next_part() {
    if (committed_) return false;
    runs_.clear();
    arena_.clear();
    next_run_ = 0;
    if (next_item_ < block_.items.size()) {
      add_items();
    } else {
      for (const auto& [name, item] : remove_) runs_.push_back({{}, arena_.append("-X " + name), 1, item});
      runs_.push_back({{}, arena_.append("COMMIT")});
      committed_ = true;
    }
    return true;
  }

  void add_items() {
    std::vector<Run> rules;
    while (next_item_ < block_.items.size() && runs_.size() < kPartChainsMax) {
      ItemText text = source_.text(block_.items[next_item_]);
      for (const std::string& name : text.declare) {
        const std::string_view line = arena_.append(fmt::format(":{} - [0:0]", name));
        runs_.push_back({line.substr(1, name.size()), line, 1, next_item_});
      }
      for (const std::string& rule : text.rules) add_rule(rule, rules);
      for (std::string& name : text.remove) remove_.emplace_back(std::move(name), next_item_);
      ++next_item_;
    }
    std::stable_sort(runs_.begin(), runs_.end(), [](const Run& a, const Run& b) { return a.chain > b.chain; });
    runs_.erase(std::unique(runs_.begin(), runs_.end(), [](const Run& a, const Run& b) { return a.chain == b.chain; }),
                runs_.end());
    counts_.chains += runs_.size();
    std::stable_sort(rules.begin(), rules.end(), [](const Run& a, const Run& b) { return a.chain < b.chain; });
    runs_.insert(runs_.end(), rules.begin(), rules.end());
  }

  void add_rule(std::string_view rule, std::vector<Run>& rules) {
    const std::string_view text = arena_.append(rule);
    const std::string_view chain = chain_of(text);
    ++counts_.rules;
    if (is_own_rule(text)) ++counts_.own_rules;
    const bool goes_on = !rules.empty() && rules.back().item == next_item_ && rules.back().chain == chain &&
                         rules.back().text.data() + rules.back().text.size() == text.data();
    if (!goes_on) {
      rules.push_back({chain, text, 1, next_item_});
      return;
    }
    Run& run = rules.back();
    run.text = {run.text.data(), run.text.size() + text.size()};
    ++run.lines;
  }

  static std::string nth_line(std::string_view text, std::size_t index) {
    for (; index > 0; --index) text.remove_prefix(text.find('\n') + 1);
    return std::string(text.substr(0, text.find('\n')));
  }

  const Block& block_;
  ItemSource& source_;
  Arena arena_;
  std::vector<Run> runs_;  // of the current part
  std::size_t next_run_ = 0;
  std::size_t next_item_ = 0;
  std::vector<std::pair<std::string, std::size_t>> remove_;  // a chain, and the item that removes it
  bool committed_ = false;
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

  // Adds the contents of the first `count` blocks of this run.
  void count(std::size_t count, ApplyStats& stats) const {
    for (std::size_t i = 0; i < count && i < counts_.size(); ++i) {
      stats.rules_written += counts_[i].rules;
      add_to_table(blocks_[first_ + i].table, counts_[i].own_rules, stats);
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

// Cuts a block in two, between phases or in the middle of one; false if it cannot be cut.
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

// A line's number ("line 40 failed", "Error occurred at line: 40") adds nothing to the line itself, and would make a
// new reason from the same refusal at each attempt.
std::string without_line_number(std::string message) {
  for (const std::string_view mark : {"line: ", "line "}) {
    for (std::size_t at = message.find(mark); at != std::string::npos; at = message.find(mark, at + mark.size())) {
      const std::size_t number = at + mark.size();
      const std::size_t end = std::min(message.find_first_not_of("0123456789", number), message.size());
      if (end > number) message.replace(number, end - number, "N");
    }
  }
  return message;
}

std::string in_words(const std::vector<ItemRefusal>& refusals, const ItemSource& source) {
  std::string text;
  for (const ItemRefusal& each : refusals)
    text += fmt::format("{}{} is refused: {}", text.empty() ? "" : "; ", source.label(each.item), each.reason);
  return text;
}

}  // namespace

Result<std::vector<ItemRefusal>> try_script(const Tool& tool, std::vector<Block> blocks, ItemSource& source,
                                            ApplyStats& stats) {
  std::vector<ItemRefusal> refusals;
  std::size_t next = 0;
  const auto commit = [&](const ScriptInput& input, std::size_t end) {
    input.count(end - next, stats);
    for (; next < end; ++next) {
      for (const Item& item : blocks[next].items) source.committed(item);
    }
  };
  for (std::size_t run = 0; next < blocks.size(); ++run) {
    if (run == kRunsMax) {
      return fail(Errc::kInvalid, fmt::format("{}: gave up with {} of {} blocks applied: {}", tool.restore, next,
                                              blocks.size(), in_words(refusals, source)));
    }
    ScriptInput input(blocks, next, source);
    SLUICE_TRY(const RestoreOutcome outcome, restore(tool, [&input] { return input.pull(); }));
    if (outcome.ok) {
      commit(input, blocks.size());
      break;
    }
    const auto place = outcome.line ? input.place_of(*outcome.line) : std::nullopt;
    if (!place) return fail(Errc::kInternal, fmt::format("{}: {}", tool.restore, outcome.message));
    commit(input, place->block);
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
    refusals.push_back({*culprit,
                        without_line_number(outcome.message) + (found.line.empty() ? "" : ", at " + found.line),
                        found.line.starts_with("-D ")});
    if (!source.exclude(*culprit))
      return fail(Errc::kInvalid, fmt::format("{}: {}", tool.restore, in_words(refusals, source)));
  }
  return refusals;
}

Result<> run_script(const Tool& tool, std::vector<Block> blocks, ItemSource& source, ApplyStats& stats) {
  SLUICE_TRY(const std::vector<ItemRefusal> refusals, try_script(tool, std::move(blocks), source, stats));
  if (refusals.empty()) return {};
  return fail(Errc::kInvalid, fmt::format("{}: {}; all else is applied", tool.restore, in_words(refusals, source)));
}

}  // namespace sluice::dataplane::iptables
