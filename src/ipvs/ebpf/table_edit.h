// SPDX-License-Identifier: Apache-2.0
// Changes of virtual and real servers in the maps, while packets read them. What is needed beside the maps to do so (which ids
// and lines are free) is found in them, and found again when another process has changed them.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "ipvs/change.h"
#include "ipvs/ebpf/line_memory.h"
#include "ipvs/ebpf/tables.h"
#include "ipvs/ebpf/view.h"

namespace sluice::ipvs::ebpf {

// The errno by which a table without a virtual server refuses a change; 0 for a virtual server that can be added.
int refusal_by_empty_table(const Change& change);

class TableEdit {
 public:
  explicit TableEdit(Tables& tables) : tables_(&tables) {}

  // 0, or the errno of the refusal. An Error where the maps could not be changed. The caller holds the lock, and has found since what
  // others have made (Tables::follow()).
  Result<int> apply(const Change& change);
  Result<> flush();

  // For lists. The ids of a virtual server's real servers, the newest first.
  [[nodiscard]] std::vector<std::uint32_t> members(const sluice_service& service) const;
  [[nodiscard]] std::uint32_t scheduler_of(const sluice_service& service) const;
  // All that was counted for a real server since the programs run.
  [[nodiscard]] sluice_counts counted(std::uint32_t real) const;
  // Its counters and rates start at 0.
  void start_counting(std::uint32_t real);

 private:
  // A removed real server: by what it is found when it is added again, and what of its counters its virtual server has kept.
  using RemovedKey = std::pair<std::vector<std::uint8_t>, std::vector<std::uint8_t>>;
  struct Removed {
    std::uint32_t id;
    sluice_counts kept;
  };

  Result<int> change(const AddVirtualServer& c);
  Result<int> change(const EditVirtualServer& c);
  Result<int> change(const RemoveVirtualServer& c);
  Result<int> change(const AddRealServer& c);
  Result<int> change(const EditRealServer& c);
  Result<int> change(const RemoveRealServer& c);

  void index_anew();
  void changed();
  [[nodiscard]] sluice_view* view_of(const sluice_service& service) const;
  [[nodiscard]] std::uint32_t member_with(const sluice_service& service, const RealServerKey& key) const;
  [[nodiscard]] std::vector<ViewMember> view_members(const std::vector<std::uint32_t>& ids) const;
  // Builds and publishes a view of these members; `move` says where the cursor is in it.
  template <typename Move>
  Result<> publish(sluice_service& service, std::uint32_t scheduler, const std::vector<std::uint32_t>& ids, Move move);
  Result<std::uint32_t> new_service_id();
  Result<std::uint32_t> new_real_id();
  // The id of a real server that was removed long enough ago, 0 for none.
  std::uint32_t take_removed();
  void set_limits(sluice_cell& cell, const RealServer& server);
  void drop_member(sluice_service& service, std::uint32_t id);

  Tables* tables_;
  std::uint64_t indexed_changes_ = 0;
  LineMemory lines_;
  std::vector<std::uint32_t> free_services_;
  std::vector<std::uint32_t> free_reals_;
  std::map<RemovedKey, Removed> removed_;
  std::deque<std::uint32_t> removed_order_;  // the one that was removed longest ago is the first
};

}  // namespace sluice::ipvs::ebpf
