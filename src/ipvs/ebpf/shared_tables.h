// SPDX-License-Identifier: Apache-2.0
// What the engines of one process have in common in a network namespace. With tables of their own, two of them (mode ipvs has one for each family)
// would index everything anew after every change that the other has made.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "ipvs/ebpf/hooks.h"
#include "ipvs/ebpf/table_edit.h"
#include "ipvs/ebpf/tables.h"
#include "sys/link_watch.h"

namespace sluice::ipvs::ebpf {

struct SharedTables {
  // Those of the calling thread's network namespace; they live as long as one of those who have asked.
  static Result<std::shared_ptr<SharedTables>> here();

  std::optional<Tables> tables;
  std::optional<TableEdit> edit;           // there if `tables` is
  std::set<int> hooked;                    // devices that have our programs
  std::map<int, Refusal> refused;          // why others have not
  std::uint64_t try_refused_again_ns = 0;  // CLOCK_MONOTONIC
  std::vector<std::string> complaints;     // of devices that refuse, since they were taken
  bool lost = false;                       // tables that were known here were taken out of the kernel
  // Whether there may be other links or addresses than when this was asked last; so the first time.
  Result<bool> links_changed();
  // Lets go of all of it: it was taken out of the kernel.
  void forget();

 private:
  std::optional<sys::LinkWatch> watch_;
};

}  // namespace sluice::ipvs::ebpf
