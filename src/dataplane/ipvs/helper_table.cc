// SPDX-License-Identifier: Apache-2.0
// The helper table in the kernel. What is live is always read from there; the one thing kept here is the source ranges
// (nft/source_ranges.h). Neighbours: helper_rules.cc defines the rules, helper_sets.cc the elements,
// nft/owned_table.h writes both.
#include "dataplane/ipvs/helper_table.h"

#include <optional>
#include <utility>

#include "dataplane/ipvs/helper_rules.h"
#include "dataplane/ipvs/helper_sets.h"
#include "dataplane/nft/owned_table.h"
#include "dataplane/nft/source_ranges.h"
#include "sys/netfilter_objects.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::ipvs {
namespace {

class NetlinkHelperTable : public HelperTable {
 public:
  explicit NetlinkHelperTable(const HelperSettings& settings)
      : table_(settings.family, kHelperTableName, helper_sets(settings.family), helper_chains(),
               helper_rules(settings)) {}

  Result<std::size_t> replace(const HelperElements& wanted) override {
    SLUICE_TRY(const std::size_t written, table_.replace(encode_elements(wanted)));
    ranges_.emplace().assign(wanted.source_ranges);
    return written;
  }

  Result<std::size_t> change(const HelperElements& add, const HelperElements& remove) override {
    if (!ranges_) return fail(Errc::kInvalid, "helper table: changed before it was written");
    nft::ElementChanges changes{encode_elements(add), encode_elements(remove)};
    nft::SourceRanges::Change ranges = ranges_->change(add.source_ranges, remove.source_ranges);
    changes.add[kSourceRanges] = std::move(ranges.add);
    changes.remove[kSourceRanges] = std::move(ranges.remove);
    SLUICE_TRY(const std::size_t count, table_.change(std::move(changes)));
    ranges_->written(std::move(ranges));
    return count;
  }

  Result<bool> intact() override { return table_.intact(); }
  Result<Difference> compare(const HelperElements& wanted) override { return table_.compare(encode_elements(wanted)); }
  [[nodiscard]] std::size_t rules() const override { return table_.rules(); }

 private:
  nft::OwnedTable table_;
  std::optional<nft::SourceRanges> ranges_;  // nothing before the table was written
};

}  // namespace

Result<> check_nf_tables(Family family) {
  const auto live = sys::read_nft_table(family, kHelperTableName);
  if (!live && live.error().code == Errc::kUnsupported) {
    return annotate(
        live.error(),
        "mode ipvs needs nftables, and this kernel has none (kernel module nf_tables is missing or may not be loaded)");
  }
  if (!live) return annotate(live.error(), "nftables table of mode ipvs");
  return {};
}

Result<std::unique_ptr<HelperTable>> open_helper_table(const HelperSettings& settings) {
  SLUICE_CHECK_OK(check_nf_tables(settings.family));
  return std::unique_ptr<HelperTable>(std::make_unique<NetlinkHelperTable>(settings));
}

Result<bool> remove_helper_table(Family family) {
  return sys::delete_nft_table(family, kHelperTableName);
}

}  // namespace sluice::dataplane::ipvs
