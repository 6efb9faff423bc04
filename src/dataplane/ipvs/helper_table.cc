// SPDX-License-Identifier: Apache-2.0
// The helper table in the kernel. nf_tables changes a table as a whole or not at all, so writing it anew, old rules out
// and new ones in, leaves no moment without rules, and a change of one Service is one small transaction. What is live
// is always read from the kernel; the one thing kept here is the source ranges, because removing a wide range must
// bring back those that lay in it (helper_sets.cc), and the kernel was never told of these. Neighbours: helper_rules.cc
// says what the rules are, sys/nf_tables.h talks to the kernel.
#include "dataplane/ipvs/helper_table.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <utility>

#include "dataplane/ipvs/helper_rules.h"
#include "dataplane/ipvs/helper_sets.h"
#include "sys/netfilter_objects.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::ipvs {
namespace {

using sys::NftBatch;
using sys::NftTable;
using ElementsBySet = std::map<std::string, NftElements>;

struct ElementChanges {
  ElementsBySet add;
  ElementsBySet remove;
  [[nodiscard]] std::size_t size() const {
    std::size_t count = 0;
    for (const auto& [set, elements] : add) count += elements.size();
    for (const auto& [set, elements] : remove) count += elements.size();
    return count;
  }
};

// Removals come first: a range may be in the way of another.
void put_changes(NftBatch& batch, const ElementChanges& changes) {
  for (const auto& [set, elements] : changes.remove) batch.remove_elements(set, elements);
  for (const auto& [set, elements] : changes.add) batch.add_elements(set, elements);
}

const NftElements& elements_of(const ElementsBySet& sets, const std::string& name) {
  static const NftElements kNone;
  const auto found = sets.find(name);
  return found == sets.end() ? kNone : found->second;
}

void append_missing(std::vector<std::string>& lines, const std::string& kind, const auto& wanted, const auto& live) {
  for (const auto& [name, value] : wanted) {
    const auto found = live.find(name);
    if (found == live.end() || found->second != value) lines.push_back(fmt::format("{} {}", kind, name));
  }
}

void append_missing_rules(std::vector<std::string>& lines, const NftTable& wanted, const NftTable& live) {
  for (const auto& [chain, rules] : wanted.rules) {
    const auto found = live.rules.find(chain);
    for (std::size_t i = 0; i < rules.size(); ++i) {
      if (found == live.rules.end() || i >= found->second.size() || found->second[i] != rules[i]) {
        lines.push_back(fmt::format("rule {} of chain {}: {}", i + 1, chain, rules[i]));
      }
    }
  }
}

using RangesByAddress = std::map<ServedAddress, std::set<Cidr>>;

RangesByAddress ranges_by_address(const std::set<SourceRange>& ranges) {
  RangesByAddress result;
  for (const SourceRange& range : ranges) result[range.to].insert(range.from);
  return result;
}

class NetlinkHelperTable : public HelperTable {
 public:
  explicit NetlinkHelperTable(const HelperSettings& settings)
      : family_(settings.family),
        sets_(helper_sets(family_)),
        chains_(helper_chains()),
        rules_(helper_rules(settings)) {
    for (const sys::NftChain& chain : chains_) wanted_.chains.emplace(chain.name, chain);
    for (const sys::NftSet& set : sets_) wanted_.sets.emplace(set.name, set);
    for (const sys::NftRule& rule : rules_) wanted_.rules[rule.chain()].push_back(rule.text());
  }

  Result<std::size_t> replace(const HelperElements& wanted) override {
    SLUICE_TRY(const std::optional<NftTable> live, sys::read_nft_table(family_, kHelperTableName));
    const ElementsBySet elements = encode_elements(wanted);
    SLUICE_TRY(const std::size_t written,
               live && *live == wanted_ ? write_difference(elements) : write_anew(elements, live.has_value()));
    ranges_ = ranges_by_address(wanted.source_ranges);
    return written;
  }

  Result<std::size_t> change(const HelperElements& add, const HelperElements& remove) override {
    if (!ranges_) return fail(Errc::kInvalid, "helper table: changed before it was written");
    ElementChanges changes{encode_elements(add), encode_elements(remove)};
    for (auto& [set, elements] : changes.remove) elements = subtract(elements, elements_of(changes.add, set));
    RangesByAddress ranges = change_ranges(add.source_ranges, remove.source_ranges, changes);
    const std::size_t count = changes.size();
    if (count != 0) SLUICE_CHECK_OK(commit(changes));
    for (auto& [to, from] : ranges) {
      if (from.empty()) {
        ranges_->erase(to);
      } else {
        ranges_->insert_or_assign(to, std::move(from));
      }
    }
    return count;
  }

  Result<bool> intact() override {
    SLUICE_TRY(const std::optional<NftTable> live, sys::read_nft_table(family_, kHelperTableName));
    return live && *live == wanted_;
  }

  Result<Difference> compare(const HelperElements& wanted) override {
    SLUICE_TRY(const std::optional<NftTable> live, sys::read_nft_table(family_, kHelperTableName));
    Difference difference;
    if (!live || live->dormant) {
      difference.missing.push_back(
          fmt::format("nftables table {} {}", family_ == Family::kIPv4 ? "ip" : "ip6", kHelperTableName));
      return difference;
    }
    append_missing(difference.missing, "nftables chain", wanted_.chains, live->chains);
    append_missing(difference.missing, "nftables set", wanted_.sets, live->sets);
    append_missing(difference.unexpected, "nftables chain", live->chains, wanted_.chains);
    append_missing(difference.unexpected, "nftables set", live->sets, wanted_.sets);
    append_missing_rules(difference.missing, wanted_, *live);
    append_missing_rules(difference.unexpected, *live, wanted_);
    const ElementsBySet elements = encode_elements(wanted);
    for (const sys::NftSet& set : sets_) {
      const auto found = live->sets.find(set.name);
      if (found == live->sets.end() || found->second != set) continue;
      SLUICE_TRY(const NftElements there, sys::read_nft_elements(family_, kHelperTableName, set.name));
      append_elements(difference.missing, set, subtract(elements_of(elements, set.name), there));
      append_elements(difference.unexpected, set, subtract(there, elements_of(elements, set.name)));
    }
    return difference;
  }

  [[nodiscard]] std::size_t rules() const override { return rules_.size(); }

 private:
  static void append_elements(std::vector<std::string>& lines, const sys::NftSet& set, const NftElements& elements) {
    for (const sys::NftElement& element : elements) {
      lines.push_back(fmt::format("element {} of nftables set {}", element_text(set.key, element), set.name));
    }
  }

  Result<std::size_t> write_anew(const ElementsBySet& elements, bool there) {
    NftBatch batch(family_, kHelperTableName);
    if (there) batch.delete_table();
    batch.add_table();
    for (const sys::NftSet& set : sets_) batch.add_set(set);
    for (const sys::NftChain& chain : chains_) batch.add_chain(chain);
    for (const sys::NftRule& rule : rules_) batch.add_rule(rule);
    const ElementChanges changes{elements, {}};
    put_changes(batch, changes);
    SLUICE_CHECK_OK(batch.commit());
    return sets_.size() + rules_.size() + changes.size();
  }

  Result<std::size_t> write_difference(const ElementsBySet& wanted) {
    ElementChanges changes;
    for (const sys::NftSet& set : sets_) {
      SLUICE_TRY(const NftElements live, sys::read_nft_elements(family_, kHelperTableName, set.name));
      const NftElements& elements = elements_of(wanted, set.name);
      changes.add[set.name] = subtract(elements, live);
      changes.remove[set.name] = subtract(live, elements);
    }
    SLUICE_CHECK_OK(commit(changes));
    return changes.size();
  }

  // Where the kernel knows nothing of an element that is to go, all that go are added first, in the same transaction.
  // There is a message that removes what may be missing (NFT_MSG_DESTROYSETELEM), but only since kernel 6.3.
  [[nodiscard]] Result<> commit(const ElementChanges& changes) const {
    NftBatch batch(family_, kHelperTableName);
    put_changes(batch, changes);
    auto committed = batch.commit();
    if (committed || committed.error().code != Errc::kNotFound || changes.remove.empty()) return committed;
    NftBatch second(family_, kHelperTableName);
    for (const auto& [set, elements] : changes.remove) second.add_elements(set, elements);
    put_changes(second, changes);
    return second.commit();
  }

  // Fills in the elements of the set of source ranges, and answers the ranges of the addresses concerned as they are to
  // be.
  RangesByAddress change_ranges(const std::set<SourceRange>& add, const std::set<SourceRange>& remove,
                                ElementChanges& changes) const {
    RangesByAddress after;
    const auto concerned = [&](const ServedAddress& to) -> std::set<Cidr>& {
      const auto [at, fresh] = after.try_emplace(to);
      if (const auto before = ranges_->find(to); fresh && before != ranges_->end()) at->second = before->second;
      return at->second;
    };
    for (const SourceRange& range : remove) concerned(range.to).erase(range.from);
    for (const SourceRange& range : add) concerned(range.to).insert(range.from);
    HelperElements before_elements;
    HelperElements after_elements;
    for (const auto& [to, from] : after) {
      for (const Cidr& range : from) after_elements.source_ranges.insert({to, range});
      if (const auto before = ranges_->find(to); before != ranges_->end()) {
        for (const Cidr& range : before->second) before_elements.source_ranges.insert({to, range});
      }
    }
    const NftElements before = elements_of(encode_elements(before_elements), kSourceRanges);
    const NftElements wanted = elements_of(encode_elements(after_elements), kSourceRanges);
    changes.add[kSourceRanges] = subtract(wanted, before);
    changes.remove[kSourceRanges] = subtract(before, wanted);
    return after;
  }

  Family family_;
  std::vector<sys::NftSet> sets_;
  std::vector<sys::NftChain> chains_;
  std::vector<sys::NftRule> rules_;
  NftTable wanted_;                        // what read_nft_table() answers where all is well
  std::optional<RangesByAddress> ranges_;  // as last written, also those that lie in others
};

}  // namespace

Result<std::unique_ptr<HelperTable>> open_helper_table(const HelperSettings& settings) {
  // Also asks the kernel whether it has nf_tables at all.
  const auto live = sys::read_nft_table(settings.family, kHelperTableName);
  if (!live && live.error().code == Errc::kUnsupported) {
    return annotate(
        live.error(),
        "mode ipvs needs nftables, and this kernel has none (kernel module nf_tables is missing or may not be loaded)");
  }
  if (!live) return annotate(live.error(), "helper table");
  return std::unique_ptr<HelperTable>(std::make_unique<NetlinkHelperTable>(settings));
}

Result<bool> remove_helper_table(Family family) {
  return sys::delete_nft_table(family, kHelperTableName);
}

}  // namespace sluice::dataplane::ipvs
