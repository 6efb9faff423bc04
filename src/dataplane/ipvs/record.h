// SPDX-License-Identifier: Apache-2.0
// Small files that record the node ports and addresses for which we made virtual servers, where nothing else records
// them: cleaning up needs them when the Services are no longer known. Node ports always; addresses if the engine needs
// neither a device nor rules that list them.
#pragma once

#include <set>
#include <string>

#include "base/result.h"
#include "dataplane/ipvs/helper_elements.h"
#include "ipvs/engine.h"

namespace sluice::dataplane::ipvs {

// T is NodePort or IpAddress.
template <typename T>
class Record {
 public:
  // An empty folder: nothing is kept. What the file holds from before counts as live.
  Record(const std::string& folder, Family family);
  // Entries will be added: the file must have them before the kernel does.
  Result<> before(const std::set<T>& wanted);
  // All is done, only these are left.
  Result<> after(const std::set<T>& wanted);
  [[nodiscard]] const std::set<T>& entries() const { return recorded_; }
  [[nodiscard]] bool exists() const;
  Result<> remove();

 private:
  Result<> write(const std::set<T>& wanted);
  std::string path_;
  std::set<T> recorded_;
};

// Whether addresses are recorded: neither a device nor a table of nftables lists them.
constexpr bool records_addresses(const sluice::ipvs::Description& engine) {
  return !engine.needs_local_addresses && !engine.needs_helper_rules;
}

using NodePortRecord = Record<NodePort>;
using AddressRecord = Record<IpAddress>;

}  // namespace sluice::dataplane::ipvs
