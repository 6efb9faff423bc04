// SPDX-License-Identifier: Apache-2.0
// What our table holds, as a full apply or a comparison finds it, and what of it is not wanted.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "dataplane/nft/elements.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {

class Live {
 public:
  // All but the elements that rules keep. Elements of sets that are not as they must be count as none.
  static Result<Live> read(Family family, const std::vector<sys::NftSet>& wanted_sets);

  [[nodiscard]] const std::optional<sys::NftTable>& table() const { return table_; }
  // Whether the table can be kept: it is there, and of the sets that are wanted it has none in another form.
  [[nodiscard]] bool usable() const { return usable_; }

  // Where to find an element: its set's name, and its place there.
  struct Place {
    const std::string* set = nullptr;
    std::size_t index = 0;
  };
  [[nodiscard]] std::optional<Place> find(const std::string& set, const sys::NftElement& wanted) const;
  [[nodiscard]] const sys::NftElement& at(const Place& place) const;
  // Those whose keys begin so.
  [[nodiscard]] std::vector<Place> beginning_with(const std::string& set, std::span<const std::uint8_t> prefix) const;

  // It is wanted, or has been dealt with.
  void settle(const Place& place);
  // From here on nothing of it can be kept.
  void give_up() {
    table_.reset();
    sets_.clear();
    usable_ = false;
  }
  [[nodiscard]] const nft::Elements& all(const std::string& set) const;
  [[nodiscard]] nft::Elements unsettled(const std::string& set) const;

 private:
  struct Elements {
    nft::Elements all;  // sorted
    std::vector<bool> settled;
  };
  std::optional<sys::NftTable> table_;
  bool usable_ = false;
  std::map<std::string, Elements> sets_;
};

}  // namespace sluice::dataplane::nftables
